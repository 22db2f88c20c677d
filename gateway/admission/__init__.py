"""Admission control: a fair queue for a busy
backend, with limits on its length and waiting time.
"""
