"""Metrics: counted at the end of requests, merged from all workers, and exported.

worker   registry ◀── middleware/metrics        admin   fleet ──▶ merge ──▶ exposition, otlp
             └── snapshot ──▶ (Unix socket) ─────────▶                 └──▶ history ──▶ /api/now
"""
