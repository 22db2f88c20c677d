"""Traces: recorded by workers, built into spans in the admin process, stored and exported.

worker   middleware/tracing ──▶ recording        admin   admin/collecting ──▶ spans ──▶ export
         (context, gaps, content, said) └─ one line of JSON ─▶           └──▶ store ──▶ reader
"""
