"""Before hours are spent: `stage=check` looks at everything, `stage=prefetch` downloads it."""
