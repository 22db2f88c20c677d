"""LangChain through the gateway: its OpenAI integration with another address and key.

    pip install langchain-openai
    gateway keys create --config examples/keys-and-budgets.yaml --owner me@example.com
    export GATEWAY_URL=http://127.0.0.1:8080 GATEWAY_KEY=sk-gw-...
    python examples/langchain_chat.py gpt-mini

Prints the answer as it streams, then the tokens that it took.
"""

from __future__ import annotations

import os
import sys

from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model=sys.argv[1],
    base_url=os.environ["GATEWAY_URL"] + "/v1",
    api_key=os.environ["GATEWAY_KEY"],
    # The gateway tries other endpoints and models itself, within its retry budget.
    max_retries=0,
    stream_usage=True,
)
answer = None
for chunk in model.stream("Tell me of reverse proxies in two sentences."):
    print(chunk.content, end="", flush=True)
    answer = chunk if answer is None else answer + chunk
assert answer is not None
print(f"\n{answer.usage_metadata['output_tokens']} tokens")
