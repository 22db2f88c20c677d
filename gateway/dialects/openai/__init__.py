"""OpenAI API, also served by vLLM, SGLang and llama.cpp."""
