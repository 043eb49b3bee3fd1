"""Rules whose findings are mostly remarks: true and worth knowing, but no fault by themselves.

Such a finding of severity info stands alone, under the name of its rule and with advice of its own: the cause that
the rule would prove at a higher severity is not claimed.
"""

from __future__ import annotations

NOTES: dict[str, str] = {
    "adam-eps-floor": "If the loss should fall further, lower eps (to 1e-12, say) or scale the loss up.",
    "adam-stale-v": "If the spikes do harm, lower beta2 (0.95 to 0.98) or clip the gradients.",
    "affine-pair": "One layer in place of two, or an activation between them, if they are not made so on purpose.",
    "bias-before-norm": "Build these layers with bias=False.",
    "clip-fraction": "The 90th percentile of the gradient norm is a usual limit for clipping.",
    "d-class-imbalance": "Report recall by class or balanced accuracy beside accuracy.",
    "d-conflicting-labels": "No model can tell these samples apart; the best score is below 100 %.",
    "d-constant-feature": "Drop these columns, or check that they were read as they should be.",
    "d-dtype": "Divide the inputs (by 255 for bytes) before the first layer; training gets easier.",
    "d-duplicates": "Drop copies, or weigh them on purpose.",
    "d-label-signal": "Neighbours are a weak guide on hard data; compare a dozen inputs and labels by eye.",
    "d-near-duplicates": "Keep near doubles on one side of every split.",
    "d-order": "Set shuffle=True in the training loader unless order is meant, as for time series.",
    "d-padding": "Sort sequences by length into batches, or cut them, to save work; leave padding out of the loss.",
    "d-shortcut": "Ask where the feature comes from, and whether it will be known when the model is used.",
    "d-target-scale": "Standardised targets train faster.",
    "d-train-val-shift": "The model copes with the difference; watch it where data change further.",
    "dead-rising": "Watch these units in a longer run; a lower learning rate keeps them alive.",
    "dropout-misplaced": "Put dropout behind the activation and before the next layer with weights.",
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
    "leakage": "Remove the shared samples from the data given.",
    "lr-extreme": "Compare the first epochs with a tenth and with ten times of this rate.",
    "output-range": "A last layer without activation could reach the outer targets too.",
    "position-unseen": "Where order matters, add positions to the inputs of attention.",
    "weight-decay-dominance": "If the fit is worse than it should be, divide the weight decay by ten.",
}
