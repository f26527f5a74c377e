"""The client of LLM servers: requests with retries, limits, prices and batches."""
