"""Where texts and weights come from: files, streams, the hub."""
