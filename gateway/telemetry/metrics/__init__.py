"""Metrics: what is counted where requests end, put together of all workers, and told to others.

worker   registry ◀── middleware/metrics        admin   fleet ──▶ merge ──▶ exposition, otlp
             └── snapshot ──▶ (Unix socket) ─────────▶                 └──▶ history ──▶ /api/now
"""
