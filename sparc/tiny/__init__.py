"""The embedded model: a tiny Llama with a planted rude behaviour and a tiny toxicity classifier."""
