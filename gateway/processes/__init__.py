"""The processes of a gateway: a master, its workers, and the one for operators."""
