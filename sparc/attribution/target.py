"""What is explained: a scalar for each sample at its last real token."""

from collections.abc import Callable

import torch

from sparc.config import TargetConfig

Target = Callable[[torch.Tensor], torch.Tensor]


def target(config: TargetConfig) -> Target:
    """The function from last-position logits [samples, vocabulary] to targets [samples].

    Targets are never averaged over samples: relevance adds up over samples. The largest logit is
    the first of them where several are equal, as logits in bfloat16 often are; `logprob` is the
    log-probability of any of `token_ids`.
    """
    ids = list(config.token_ids)
    functions: dict[str, Target] = {
        "argmax": lambda logits: logits.gather(-1, logits.argmax(-1, keepdim=True))[:, 0],
        "tokens": lambda logits: logits[:, ids].sum(-1),
        "difference": lambda logits: logits[:, ids[0]] - logits[:, ids[1]],
        "logprob": lambda logits: logits.log_softmax(-1)[:, ids].logsumexp(-1),
    }
    return functions[config.kind]


def fixed_target(config: TargetConfig, logits: torch.Tensor) -> Target:
    """As `target`, but `argmax` explains the token that wins in `logits` from then on."""
    if config.kind != "argmax":
        return target(config)
    winners = logits.argmax(-1, keepdim=True)
    return lambda current: current.gather(-1, winners)[:, 0]
