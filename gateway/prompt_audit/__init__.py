"""Prompt audit: records of prompts and answers, in files or in S3."""
