"""Rules whose findings are mostly remarks: true and worth knowing, but no fault by themselves.

Such a finding of severity info stands alone, under the name of its rule and with advice of its own: the cause that
the rule would prove at a higher severity is not claimed.
"""

from __future__ import annotations

NOTES: dict[str, str] = {
    "adam-eps-floor": "If the loss should fall further, lower eps (to 1e-12, say) or scale the loss up.",
    "adam-stale-v": "If the spikes do harm, lower beta2 (0.95 to 0.98) or clip the gradients.",
    "clip-fraction": "The 90th percentile of the gradient norm is a usual limit for clipping.",
    "dead-rising": "Watch these units in a longer run; a lower learning rate keeps them alive.",
    "grad-spikes": "Rare long gradients are clipped as a rule; look at the batches of these steps if they do harm.",
    "h-best-not-last": "Use the checkpoint of the best epoch.",
    "h-generalisation-gap": "More data or augmentation narrows the gap; no fault if the validation metric will do.",
    "h-init-loss": "Smaller weights in the last layer make the first loss that of an even guess.",
    "h-metric-loss-disagree": "Choose checkpoints by the metric that counts, not by the loss.",
    "h-overconfident": "Keep the checkpoint of the best epoch, or calibrate the probabilities (temperature scaling).",
    "h-plateau": "If the fit is good, fewer epochs will do; if it is not, more of them will not help.",
    "h-resume-gap": "Save and load the states of optimizer, scheduler and sampler along with the weights.",
    "h-spikes": "If they do harm: clip the gradients, lower beta2, or look at the batches of these steps.",
    "h-still-improving": "Training longer would probably help.",
    "h-underfit": "A larger model or longer training may help, unless the labels hold no more than this.",
    "h-val-below-train": "Evaluate the training data in eval mode too: if the gap remains, compare the two splits.",
    "h-val-noise": "Judge checkpoints on more validation data, or by the mean of several epochs.",
    "lr-extreme": "Compare the first epochs with a tenth and with ten times of this rate.",
    "weight-decay-dominance": "If the fit is worse than it should be, divide the weight decay by ten.",
}
