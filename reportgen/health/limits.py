"""Which thresholds each rule has, by the names that a project sets them by.

``LIMITS[rule][name]`` is the field of ``Thresholds`` behind the name. The first rule that declares a field owns it:
what a project sets there also holds where another rule only asks whether the owner's condition is met ("did it
diverge?"). A rule that declares the field too has a setting of its own.
"""

from __future__ import annotations

from .thresholds import Thresholds

LIMITS: dict[str, dict[str, str]] = {
    "optimizer-missing-params": {"error": "unowned_share_error"},
    "norm-gain": {"ratio": "gain_ratio"},
    "q-weight-sqnr": {"decibels": "sqnr"},
    "q-channel-range": {"ratio": "channel_ratio"},
    "rnn-spectral-radius": {"low": "radius_low", "high": "radius_high"},
    "lstm-gates": {"share": "stuck_gates"},
    "weights-jump": {"ratio": "course_jump"},
    "w-rank-one": {"rank": "one_direction"},
    "w-copies": {"share": "copied_filters"},
    "w-dead-filters": {"share": "dead_filters"},
    "weights-rest": {"moved": "course_moved"},
    "w-scale": {
        "low": "weight_scale_low",
        "high": "weight_scale_high",
        "grown": "weight_scale_grown",
        "info_low": "weight_scale_info_low",
        "info_high": "weight_scale_info_high",
    },
    "dead-relu": {
        "info": "dead_relu_info",
        "warning": "dead_relu_warning",
        "error": "dead_relu_error",
        "samples": "dead_relu_samples",
    },
    "constant-channel": {"info": "constant_channel_info", "warning": "constant_channel_warning"},
    "bn-stats-mismatch": {
        "mean_warning": "bn_mean_warning",
        "mean_error": "bn_mean_error",
        "var_warning": "bn_var_warning",
        "var_error": "bn_var_error",
        "samples": "bn_samples",
    },
    "dead-smooth": {
        "info": "dead_relu_info",
        "warning": "dead_relu_warning",
        "error": "dead_relu_error",
        "samples": "dead_relu_samples",
    },
    "saturation": {
        "info": "saturation_info",
        "warning": "saturation_warning",
        "values": "saturated_values",
        "samples": "dead_relu_samples",
    },
    "attention-scale": {"spread": "attention_sharp"},
    "attention-collapse": {"entropy": "attention_entropy", "spread": "attention_spread"},
    "idle-block": {"change": "block_change"},
    "layer-norm-noise": {"share": "tiny_rows"},
    "w-sparsity": {"share": "sparse", "layer": "nearly_all"},
    "embedding-rows": {"rows": "embedding_rows"},
    "w-filter-smoothness": {"deviations": "smooth"},
    "bias-extreme": {"share": "pushed", "samples": "dead_relu_samples"},
    "outlier-channels": {"reach": "reach"},
    "spatial-concentration": {"concentration": "concentrated"},
    "block-overwrites": {"change": "overwritten"},
    "o-regression-spread": {"correlation": "spread_of_errors"},
    "o-regression-slope": {"high": "slope_high", "low": "slope_low"},
    "massive-activation": {"value": "massive_value", "times": "massive_times"},
    "param-no-grad": {"error": "no_grad_share_error"},
    "param-unused": {"error": "no_grad_share_error"},
    "grad-depth-slope": {
        "slope": "gradient_slope",
        "ratio_warning": "gradient_ratio_warning",
        "ratio_error": "gradient_ratio_error",
        "layers": "gradient_layers",
    },
    "h-diverged": {"drop": "diverged_drop", "ratio": "diverged_ratio", "blown_up": "blown_up_ratio"},
    "h-never-learned": {"drop": "never_learned_drop", "of_chance": "never_learned_chance"},
    "h-overfit": {"rise": "overfit_rise", "rise_of_drop": "overfit_rise_of_drop", "rise_far": "overfit_rise_far"},
    "h-generalisation-gap": {"gap": "generalisation_gap"},
    "h-oscillating": {"jump": "oscillation"},
    "h-underfit": {"of_chance": "underfit_chance", "slope": "underfit_slope"},
    "h-plateau": {"by": "plateau_by"},
    "h-still-improving": {"fall": "undertrained_fall", "end": "undertrained_end"},
    "h-val-below-train": {"share": "below_share"},
    "h-init-loss": {"info": "init_loss_info", "warning": "init_loss_warning", "far": "init_loss_far"},
    "h-spikes": {"sigma": "spike_sigma"},
    "h-metric-loss-disagree": {"agreement": "metric_agreement"},
    "update-ratio": {
        "low": "update_ratio_low",
        "high": "update_ratio_high",
        "first": "update_ratio_first",
        "first_off": "update_ratio_first_off",
        "leap": "update_ratio_leap",
        "off": "carried_off",
        "info_low": "update_ratio_info_low",
        "info_high": "update_ratio_info_high",
    },
    "lr-extreme": {"low": "lr_low", "high": "lr_high", "high_adaptive": "lr_high_adaptive", "absurd": "lr_absurd"},
    "lr-schedule-collapse": {"rate": "collapse_rate", "left": "collapse_left"},
    "adam-eps-floor": {"share": "eps_floor"},
    "adam-stale-v": {"ratio": "stale_v"},
    "weight-decay-dominance": {"share": "decay_share"},
    "missing-zero-grad": {"warning": "stale_gradients_warning", "error": "stale_gradients_error"},
    "asked-otherwise": {"share": "asked_other"},
    "inputs-mixed": {"lesser": "mixed_lesser", "errors": "mixed_errors"},
    "eval-mode-training": {"share": "eval_steps"},
    "amp-scaler": {"halvings": "scaler_halvings"},
    "gradients-clamped": {"share": "clamped"},
    "clip-fraction": {"info": "clipped_info", "warning": "clipped_warning", "factor": "clip_factor"},
    "grad-spikes": {"factor": "gradient_spike", "growth": "gradient_growth", "sigma": "spike_sigma"},
    "dead-rising": {"rise": "dead_rise", "share": "dead_relu_warning", "warning": "dead_rising_warning"},
    "param-not-moved": {"error": "no_grad_share_error"},
    "run-no-grad": {"error": "no_grad_share_error"},
    "run-unused": {"error": "no_grad_share_error"},
    "param-zero-grad": {"error": "no_grad_share_error"},
    "d-input-scale": {
        "std_low": "input_std_low",
        "std_high": "input_std_high",
        "offset": "input_offset",
        "samples": "input_samples",
    },
    "d-duplicates": {"share": "duplicates"},
    "d-conflicting-labels": {"share": "conflicting"},
    "d-order": {"excess": "order_excess", "one_way": "one_way", "inputs": "order_inputs"},
    "d-class-imbalance": {"ratio": "imbalance", "area": "rare_area", "precise": "rare_precision"},
    "d-padding": {"share": "padding"},
    "d-target-scale": {
        "offset": "target_offset",
        "std": "target_std",
        "std_poor": "target_std_poor",
        "size": "target_size",
        "rate": "target_rate",
    },
    "leakage": {"share": "leak", "dimensions": "copied_dimensions", "chance": "copied_chance"},
    "d-missing-class": {"share": "unseen"},
    "d-train-val-shift": {"shift": "shift"},
    "d-label-mapping": {"gain": "mapping_gain"},
    "d-label-noise": {"difference": "noisier"},
    "d-labels-drawn": {"surer": "drawn_surer", "by_heart": "drawn_by_heart"},
    "d-maps-noisier": {"difference": "maps_lower"},
    "d-maps-moved": {"difference": "maps_moved", "beside": "maps_beside"},
    "d-maps-unrelated": {"difference": "maps_gap"},
    "batch-drift": {"f": "batch_drift"},
    "channel-redundancy": {"share": "participation", "samples": "dead_relu_samples"},
    "mode-collapse": {
        "apart": "collapse_apart",
        "covered": "collapse_covered",
        "among": "collapse_among",
        "error": "collapse_gone",
    },
    "attention-logits": {"logit": "attention_logit"},
    "attention-uniform": {"entropy": "attention_flat"},
    "fp16-range": {"share": "half_share"},
    "fp16-gradients": {"share": "half_underflow"},
    "o-per-class": {"of_mean": "class_recall"},
    "o-confused-pair": {"share": "confused"},
    "o-regression-bias": {"of_std": "bias"},
    "norm-missing": {"layers": "plain_layers"},
    "bn-small-batch": {"batch_size": "bn_batch", "values": "bn_values"},
    "d-near-duplicates": {"share": "near_duplicates"},
    "near-leakage": {"share": "near_leak"},
    "d-windows-overlap": {"share": "windows"},
    "d-shortcut": {
        "score": "shortcut_score",
        "second": "shortcut_second",
        "r2": "shortcut_r2",
        "gap": "shortcut_gap",
        "exact": "shortcut_exact",
    },
    "d-dtype": {"std": "input_std_high", "samples": "input_samples"},
    "double-softmax": {
        "row_sum": "row_sum_error",
        "cross_entropy": "cross_entropy_match",
        "sigmoid_samples": "sigmoid_samples",
        "sigmoid_spread": "sigmoid_spread",
    },
    "loss-mismatch": {"labels": "labels_apart", "gain": "apart_right", "of_dealt": "apart_order"},
    "output-range": {"share": "unreachable", "bound": "score_bound"},
    "probabilities-as-scores": {"row_sum": "row_sum_error"},
    "eval-nondeterminism": {"change": "eval_change"},
    "batch-coupling": {"change": "coupling", "samples": "few_beside", "lost": "order_lost"},
    "causal-leak": {"change": "coupling", "followed": "given_followed"},
    "missing-nonlinearity": {"departure": "affine_departure"},
    "affine-pair": {"departure": "affine_departure"},
    "step-without-effect": {"rate": "smallest_rate"},
    "loss-sign": {"cosine": "uphill", "below": "sunk"},
    "eval-train-gap": {"loss": "eval_train_loss", "accuracy": "eval_train_accuracy", "slight": "eval_train_slight"},
    "bn-stale": {"momentum": "bn_momentum", "gain": "bn_stale_gain"},
    "dropout-too-strong": {"drop": "drop_high", "skill": "skill_high"},
    "input-ignored": {"spread": "output_spread", "generator": "generator_spread", "of_real": "generator_of_real"},
    "position-unseen": {"change": "order_change", "shifted": "place_change"},
    "weights-shrunk": {"scale": "shrunk"},
    "precision-lost": {"difference": "precision"},
    "init-offset": {"offset": "init_offset"},
    "d-mean-target": {"told": "encoded_told"},
    "code-of-each-sample": {"pairs": "code_pairs"},
    "norms-off-at-start": {"high": "norm_start_high", "low": "norm_start_low"},
    "signal-by-depth": {"slope": "signal_slope", "ratio": "signal_ratio"},
    "gradient-by-time": {
        "steps": "time_steps",
        "ratio": "time_ratio",
        "ratio_start": "time_ratio_start",
        "ratio_gated": "time_ratio_gated",
    },
    "too-narrow": {"r2": "poor_r2", "skill": "skill_kept", "second": "one_number"},
    "latent-collapse": {"divergence": "latent_nats"},
    "sure-and-wrong": {"surer": "surer"},
    "cut-short": {
        "gain": "longer_gain",
        "score": "short_score",
        "loss": "short_loss",
        "fall": "steep_fall",
        "gained": "longer_gained",
        "free": "free_fall",
    },
    "two-measures": {"left": "two_lines_left", "times": "two_lines_steeper"},
    "d-splits-apart": {"area": "apart_area", "harm": "apart_harm"},
    "d-target-shift": {"shift": "shift", "variation": "target_variation"},
    "o-skill-lost": {"train": "skill_high", "kept": "skill_kept"},
    "few-samples": {"by_class": "few_by_class", "gap": "few_gap", "train": "skill_high"},
    "plain-helps": {
        "gain": "way_gain",
        "of_run": "way_of_run",
        "rate": "collapse_rate",
        "alone": "way_after_collapse",
    },
    "o-calibration": {"excess": "calibration"},
    "o-inverted": {"auc": "inverted_auc"},
    "grad-noise-scale": {"times": "noise_times"},
    "grad-flow-share": {"share": "flow_share"},
    "bn-tiny-var": {"share": "tiny_rows"},
    "tuned-from-draws": {"rate": "spared_rate", "gain": "spared_gain"},
    "o-outdone": {"difference": "outdone", "gap": "few_gap"},
    "o-below-neighbours": {"difference": "below_neighbours"},
    "embedding-collapsed": {"spread": "embedding_spread", "angle": "embedding_angle", "told": "embedding_told"},
    "loss-broadcast": {"explained": "heads_agree"},
    "loss-crossed": {"share": "pairs_crossed", "flips": "flips_crossed"},
    "places-smoothed": {"apart_last": "places_apart", "own": "places_own"},
    "head-drowned": {"worth": "drowned_worth", "errors": "drowned_errors", "size": "drowned_size"},
    "penalty-outweighs": {"share": "penalty_share", "gain": "penalty_gain"},
    "gradient-partial": {"skill": "poor_r2"},
    "scale-helps": {"gap": "anew_gap", "errors": "anew_errors"},
    "fresh-copy-ahead": {"gap": "anew_gap", "errors": "anew_errors"},
    "splits-disagree": {"gap": "anew_gap", "errors": "anew_errors", "kept": "skill_kept"},
    "tags-slipped": {"gap": "anew_gap", "errors": "anew_errors"},
    "augmentation-hurts": {"gap": "anew_gap", "errors": "anew_errors"},
    "training-labels-noisier": {"difference": "noisier", "errors": "anew_errors"},
    "fitted-labels-noisier": {"difference": "noisier", "errors": "anew_errors"},
    "splits-labelled-otherwise": {"difference": "noisier", "errors": "anew_errors"},
    "training-targets-off": {
        "lower": "misfit_lower",
        "errors": "anew_errors",
        "share": "misfit_share",
        "size": "misfit_size",
        "told": "misfit_told",
    },
    "prepared-otherwise": {"gap": "anew_gap", "errors": "anew_errors"},
    "only-given-learns": {"gap": "anew_gap", "errors": "anew_errors"},
    **{
        rule: {"gain": "way_gain", "times": "way_times", "of_run": "way_of_run"}
        for rule in ("faster-helps", "thawing-helps", "owning-helps", "freedom-helps")
    },
    "slower-helps": {"gain": "way_gain", "times": "way_times", "of_run": "way_of_run", "carried": "way_carried"},
}

COMMON = ("history_epochs", "outcome_r2")
"""Fields of no rule: what counts as enough of a history, and as a model that works."""


def main_limit(rule: str) -> str | None:
    """Return the name that ``threshold`` stands for: the limit of a warning, or the only one; None where neither is."""
    names = LIMITS.get(rule, {})
    return "warning" if "warning" in names else next(iter(names)) if len(names) == 1 else None


def limits_by_rule(limits: Thresholds, set_by_rule: dict[str, dict[str, float]]) -> dict[str, Thresholds]:
    """Return the thresholds of each rule of which any differs from ``limits``; ``''`` stands for all others."""
    fields = {rule: {LIMITS[rule][name]: v for name, v in values.items()} for rule, values in set_by_rule.items()}
    everywhere = {f: v for rule, values in fields.items() for f, v in values.items() if _owner(f) == rule}
    out = {"": limits.replace(everywhere)}
    for rule, declared in LIMITS.items():
        own = set(declared.values())
        mine = {f: v for f, v in everywhere.items() if f not in own} | fields.get(rule, {})
        if mine != everywhere:
            out[rule] = limits.replace(mine)
    return out


def _owner(field: str) -> str:
    return next(rule for rule, names in LIMITS.items() if field in names.values())
