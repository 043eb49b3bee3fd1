"""What to do about each cause."""

from __future__ import annotations

ADVICE: dict[str, str] = {
    "bad-init": "Initialise the named layers for their activation (nn.init.kaiming_normal_ for ReLU, xavier_uniform_ "
    "for tanh), or put a normalisation layer behind them.",
    "batch-mixing": "Look at the first layer named, and before it, for a view or reshape where a permute was meant, a "
    "softmax or mean over dimension 0, and batch_first of recurrent and attention layers.",
    "bn-statistics": "Recompute the running statistics: some hundred training batches in train mode without "
    "optimizer steps. Check momentum, the batch size, and that validation inputs are prepared as in training.",
    "causal-leak": "Mask the future in attention (is_causal=True), drop bidirectional layers, and pad convolutions on "
    "the left only. Feed a decoder its targets moved on by one, behind a token that marks the start, and hold the "
    "output at each place against the next token: loss(output[:, :-1], tokens[:, 1:]).",
    "dead-relu": "Lower the learning rate, check the biases and the scale of the inputs, or use LeakyReLU or GELU. "
    "If the model works well, the silent channels can be pruned.",
    "detached-graph": "Look between the last layer that gets a gradient and the first that gets none for detach(), "
    ".data, no_grad(), argmax, .item() or a tensor made anew.",
    "double-softmax": "Return raw scores from the model and leave softmax (or sigmoid) to the loss; apply it yourself "
    "only for display.",
    "dropout-active-in-eval": "Call F.dropout with training=self.training, make dropout layers in __init__, and pass "
    "dropout_p=0.0 to attention outside of training. Sampling on purpose is fine.",
    "empty-layers": "Compare the named weights with an earlier checkpoint, and look at whatever wrote the file: a "
    "merge, a conversion, a pruning or a cut-short copy.",
    "eval-mode-training": "Call model.train() at the start of every epoch and model.eval() before each validation; "
    "layers that are frozen on purpose may stay in eval mode.",
    "exploding-gradients": "Clip the gradient norm, lower the learning rate, and check the initialisation; "
    "normalisation layers or residual connections stop the growth.",
    "frozen-layers": "If these layers were meant to train, set requires_grad_(True) and give them to the optimizer. "
    "A backbone that is frozen on purpose is fine once its weights are loaded.",
    "gradient-clipping-too-small": "Raise the clipping limit to about the length that gradients have before they "
    "are cut, or leave clipping out and compare.",
    "idle-parts": "Put dropout behind an activation, and leave out biases before a batch norm.",
    "layer-collapse": "Look there and before it for what makes outputs one: units that never vary, a layer of one "
    "number, a loss that only pulls together (it wants negatives, a stopped gradient or a variance term), or many "
    "rounds of averages over neighbours (fewer of them, or residual connections).",
    "loss-shape-broadcast": "Give outputs and targets one shape: squeeze(1) the output, or unsqueeze(1) the target.",
    "loss-sign-flipped": "Minimise the loss: mend the sign before it or before one of its terms, or remove "
    "maximize=True from the optimizer.",
    "lr-schedule-collapse": "Check where scheduler.step() is called (once an epoch or once a batch) against the unit "
    "of its settings, and how much of the run is left when the rate has gone.",
    "lr-too-high": "Divide the learning rate by 10 and compare the first epochs; a warm-up or clipping helps where "
    "only the start is unstable.",
    "lr-too-low": "Multiply the learning rate by 10 and compare the first epochs; check that the scheduler does not "
    "start near zero.",
    "missing-nonlinearity": "Put an activation (ReLU, GELU, tanh) between the affine layers.",
    "missing-position-info": "Add positional embeddings or encodings to the inputs of the attention layers, or use a "
    "layer that reads in order. Where order does not matter, nothing is amiss.",
    "missing-zero-grad": "Call optimizer.zero_grad() once for each optimizer.step(), before the first backward pass "
    "that belongs to it, and back-propagate the loss of that batch alone: keep totals as numbers (loss.item()).",
    "nan-in-data": "Drop or fill the non-finite values before training, and assert torch.isfinite in the data set.",
    "no-weight-update": "Check that optimizer.step() is called after backward() and before zero_grad(), that the "
    "optimizer was made from this very model, and that its learning rate is not zero.",
    "non-finite-weights": "Go back to the last checkpoint with finite weights. Then lower the learning rate or clip "
    "gradients; with float16 look at the loss scaling.",
    "numerical-instability": "Look at the first layer named: a logarithm or division of 0, or an overflow. "
    "torch.autograd.set_detect_anomaly(True) names the line.",
    "over-regularised": "Divide weight decay (or the penalty in the loss) by ten and compare; leave biases and norms "
    "out of it. PyTorch's dropout rate is the share that is dropped.",
    "overfitting": "More data or augmentation, weight decay or dropout, a smaller model or fewer epochs; where the "
    "validation loss rose again, keep the checkpoint of the best epoch.",
    "params-not-in-optimizer": "Make the optimizer after the model is complete and on its device, from "
    "model.parameters(), or add the missing ones with add_param_group.",
    "resumed-without-state": "Save and load the states of optimizer, scheduler and sampler along with the weights.",
    "too-little-data": "Collect more data, or use cross-validation to make the most of what there is.",
    "saturated-activations": "Make what goes in smaller: initialise for the activation, normalise inputs or add a norm "
    "layer, lower the learning rate; for attention, divide scores by the root of the width, normalise queries and "
    "keys, or warm up.",
    "underfitting": "Try to overfit one batch: if that fails too, the fault lies in the model, the loss or the "
    "labels, not in the amount of data.",
    "undertrained": "Train longer: the model was still learning when the run ended.",
    "unnormalised-input": "Scale the inputs to mean 0 and standard deviation 1 (or to 0..1) by figures of the training "
    "set, the same for training and validation.",
    "unregistered-parameters": "Make layers in __init__ and not in forward, keep them in nn.ModuleList or "
    "nn.ModuleDict and tensors in nn.Parameter, then make the optimizer anew from model.parameters().",
    "unused-parameters": "Remove the layers, or check that forward uses them; parts that serve only another mode "
    "are fine.",
    "vanishing-gradients": "Use ReLU-family activations, residual connections or normalisation layers, and an "
    "initialisation made for the activation.",
    "wrong-loss": "Use the loss of the task: CrossEntropyLoss on K > 1 raw scores for exclusive classes, "
    "BCEWithLogitsLoss on one raw score for each yes-or-no answer, NLLLoss on log-probabilities, MSELoss for numbers.",
    "checkpoint-not-loaded": "Load with strict=True and look at what load_state_dict returns: prefixes such as module. "
    "must match. Copy a state with copy.deepcopy where it is to be kept while training goes on.",
    "mode-collapse": "Lower the learning rate of the generator, penalise the gradient of its critic, let the critic "
    "see the deviation within a batch, or take a loss that rewards coverage (Wasserstein, energy distance).",
    "posterior-collapse": "Check that reconstruction and divergence are summed alike, raise the weight of the "
    "divergence from 0 or keep some free bits, and make sure that latent or noise reaches the decoder.",
    "wrong-augmentation": "Look at a dozen augmented samples with their labels: flips and turns may change what a "
    "sample is, and noise or crops may leave nothing of it. Hand an image and its map to one transform together.",
    "class-imbalance": "Weight the loss by class, sample rare classes more often, or collect more of them; judge by "
    "balanced accuracy or recall, not by accuracy.",
    "data-leakage": "Split before anything else (by group or time where samples hang together), remove from the data "
    "given what occurs in training, and drop columns that are made of the target; the scores here are too good.",
    "label-corruption": "Compare a dozen inputs with their labels by eye, in both splits. Look for inputs and labels "
    "shuffled or joined apart, and for class lists that are sorted differently.",
    "label-noise": "Look at the samples with the highest loss by eye; correct them, or use a loss that forgives.",
    "redundant-data": "Nothing need be done; dropping what carries nothing saves time.",
    "train-val-mismatch": "Prepare both splits by the same code with figures of the training set, and draw them from "
    "the same source.",
    "unscaled-target": "Standardise the targets by mean and standard deviation of the training set, and undo it for "
    "display.",
    "unshuffled-data": "Set shuffle=True in the training loader, or shuffle before splitting into shards.",
    "wrong-output-activation": "End in a layer without activation (regression, scores for CrossEntropyLoss or "
    "BCEWithLogitsLoss), or scale the targets into the range of the activation.",
}
