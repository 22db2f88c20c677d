"""Admission control: a fair queue for a busy backend, with limits on length and waiting time."""
