"""Traces: recorded by workers, built into spans in the admin process, stored and exported.

worker   middleware/tracing ──▶ recording        admin   admin/record_collector ──▶ spans ──▶ export
         (context, gaps, content) └─ one line of JSON ─▶           └──▶ store ──▶ reader
"""
