"""Models behind an OpenAI-compatible endpoint, such as vLLM, Ollama, llama.cpp or a hosted service.

No torch, no weights: pictures and prompts travel, replies come back. What an endpoint does wrong is told apart:

- It cannot be reached, its answer is not there as a whole within `timeout_s`, or it answers 408, 409, 429 or 5xx:
  `TransientError`. The runtime waits, as long as `Retry-After` says and within `runtime.retry_max_s`, and asks again for as
  long as it takes; the client does not retry by itself. Requests of the same batch that were answered meanwhile are not
  asked again, so that a rate limit below the batch size slows a worker down but does not stop it.
- 401, 403 and 404: `ConfigurationError` naming the setting, at the start or later; the process exits 78.
- It refuses one request (other 4xx), its answer is no chat completion, or a filter of contents has cut the reply:
  `EndpointReplyError`. Only the record that was asked about fails; where every answer is like that, the runtime's circuit
  opens.
- A completion without a text is an empty reply: the stage rejects it, each with its reason for that. Only of the judge of
  naturalness a reply without a yes or no is an `EndpointReplyError`: it says nothing against the pair.
- A reply that did not end by itself, mostly at the most tokens, says so (`complete`): of a caption half would be missing.

At the start the endpoint is asked for its models and for one token, with a picture where the model will get pictures.
"""
