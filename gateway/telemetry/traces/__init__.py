"""Traces: what a worker writes down of a request, made into spans, kept and told to others.

worker   middleware/tracing ──▶ recording        admin   admin/collecting ──▶ spans ──▶ export
          (context, gaps, content, said) └─ one line of JSON ─▶           └──▶ store ──▶ reader
"""
