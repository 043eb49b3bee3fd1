"""Every threshold that a rule holds its evidence against, in one struct, so that a project can set its own."""

from __future__ import annotations

import difflib
import math

import msgspec
from msgspec import Struct

from ..errors import OptionError


class Thresholds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults were measured on healthy and on broken models of every common family; none is tuned to one model."""

    # dead-relu: share of the channels of one layer. Healthy trained models have up to 0.38 of them.
    dead_relu_info: float = 0.10
    dead_relu_warning: float = 0.50
    dead_relu_error: float = 0.99
    dead_relu_samples: float = 300.0
    """Independent samples below which silence only says 'on this probe' (rule of three: p <= 3/N)."""

    constant_channel_info: float = 0.10
    constant_channel_warning: float = 0.50

    # saturation: share of the units of one layer
    saturation_info: float = 0.20
    saturation_warning: float = 0.50
    saturated_values: float = 0.60

    attention_entropy: float = 0.1
    attention_spread: float = 4.0
    """Times sqrt(2 ln T), the deviation at which the softmax of T Gaussian logits freezes on one."""
    attention_sharp: float = 4.0

    block_change: float = 1e-3
    tiny_rows: float = 0.05
    overwritten: float = 10.0
    massive_value: float = 100.0
    massive_times: float = 1000.0
    reach: float = 20.0
    """Times the reach of the median channel."""
    concentrated: float = 0.02
    pushed: float = 0.1

    # what stands in the weights
    sparse: float = 0.5
    nearly_all: float = 0.99
    embedding_rows: float = 100.0
    smooth: float = 3.0
    """Standard deviations of what independent weights have."""

    # grad-depth-slope: decades per layer, and ratio of the first to the last tenth of the layers.
    # Healthy: slope -0.13 to +0.31, ratio down to 9e-4 (a deep default-init MLP); ten sigmoid layers: +0.8 and 1e-8.
    gradient_slope: float = 0.3
    gradient_ratio_warning: float = 1e-4
    gradient_ratio_error: float = 1e-6
    gradient_layers: float = 5.0

    # signal-by-depth: decades per layer of the outputs at the first step, and last over first. Healthy: -0.19 to 0.15.
    signal_slope: float = 0.3
    signal_ratio: float = 100.0

    # precision-lost: distance of the outputs in float32 from those in float64, over their spread; healthy: below 1e-3
    precision: float = 0.05

    # init-offset: mean of the first weights over their root mean square; uniform 0 to 1: 0.87, 64 draws about 0: 0.4
    init_offset: float = 0.5

    # norms-off-at-start: outputs of norms held in eval mode over what they would be of data that the statistics
    # describe; healthy: 0.97 to 1.06
    norm_start_high: float = 2.2
    norm_start_low: float = 0.32

    # d-mean-target: share of what means of training rows leave open that the column tells of the targets given
    encoded_told: float = 0.05

    # code-of-each-sample: pairs of equal codes that draws would have made; none comes of 10 with 1 in 20 000
    code_pairs: float = 10.0

    # gradient-by-time: gradient by the first steps of a sequence over the largest of any
    time_steps: float = 20.0
    time_ratio: float = 1e-2
    time_ratio_start: float = 5e-2
    time_ratio_gated: float = 1e-5

    no_grad_share_error: float = 0.10
    unowned_share_error: float = 0.999
    """Share of the trainable elements outside every optimizer from which the optimizer is that of another model."""

    # w-scale: rms times sqrt(fan_in). Default init 0.58, He 1.41, healthy trained 0.28 to 2.1, N(0, 1) sqrt(fan_in).
    weight_scale_low: float = 0.02
    weight_scale_high: float = 30.0
    spared_rate: float = 0.2
    spared_gain: float = 0.4
    weight_scale_grown: float = 10.0
    weight_scale_info_low: float = 0.1
    weight_scale_info_high: float = 6.0

    # the inside of weights
    one_direction: float = 1.0001
    """Stable rank."""
    dead_filters: float = 0.2
    copied_filters: float = 0.2
    sqnr: float = 25.0
    """Decibels. Normal weights rounded to 8 bits with one scale have 38 at a million values."""
    gain_ratio: float = 20.0
    channel_ratio: float = 10.0
    """Largest over median norm of a channel, behind the batch norm: random channels have 1.0 to 1.5."""
    radius_low: float = 0.3
    radius_high: float = 1.5
    """Of a recurrent weight: default initialisation 0.58, orthogonal 1."""
    stuck_gates: float = 0.5
    course_jump: float = 10.0
    course_moved: float = 1e-3

    # double-softmax
    row_sum_error: float = 1e-3
    cross_entropy_match: float = 1e-4
    sigmoid_samples: float = 256.0
    sigmoid_spread: float = 0.3

    # bn-stats-mismatch: medians over channels. Healthy at most 0.06 and 0.08; broken 3 to 119 and 3 to 11.
    bn_mean_warning: float = 0.5
    bn_mean_error: float = 2.0
    bn_var_warning: float = 1.0
    bn_var_error: float = 2.3
    bn_samples: float = 256.0

    # d-input-scale: of one channel or column
    input_std_high: float = 20.0
    input_std_low: float = 0.05
    input_offset: float = 3.0
    input_samples: float = 20.0

    # update-ratio: ‖Δw‖/‖w‖ of one step, median over matrices and steps. Healthy 7e-4 to 2.1e-2.
    update_ratio_high: float = 0.1
    update_ratio_first: float = 1.0
    """Of the first steps: above it a step is larger than the weights it moves, and the initialisation is gone."""
    update_ratio_first_off: float = 0.3
    carried_off: float = 5.0
    update_ratio_low: float = 2e-5
    update_ratio_info_high: float = 5e-2
    update_ratio_info_low: float = 1e-4

    # h-*: epochs, and shares of the drop of the loss
    history_epochs: float = 5.0
    diverged_drop: float = 0.5
    diverged_ratio: float = 1.25
    never_learned_drop: float = 0.02
    never_learned_chance: float = 0.95
    blown_up_ratio: float = 10.0
    overfit_rise: float = 0.1
    """Good runs with plain SGD end that far above their best validation loss."""
    overfit_rise_of_drop: float = 0.05
    overfit_rise_far: float = 0.3
    generalisation_gap: float = 0.1
    oscillation: float = 0.2
    underfit_chance: float = 0.6
    underfit_slope: float = 0.03
    plateau_by: float = 0.3
    undertrained_fall: float = 0.2
    """Share of the drop of the loss that fell to the last third: exponentials reach it in their first time constant."""
    undertrained_end: float = 0.4
    below_share: float = 0.5
    init_loss_info: float = 0.3
    init_loss_warning: float = 3.0
    init_loss_far: float = 10.0
    spike_sigma: float = 6.0
    metric_agreement: float = 0.3

    # learning rates and optimizer state
    lr_low: float = 1e-6
    lr_high: float = 1.0
    lr_high_adaptive: float = 1e-2
    lr_absurd: float = 0.3
    collapse_rate: float = 0.01
    collapse_left: float = 0.5
    eps_floor: float = 0.5
    stale_v: float = 2.3
    decay_share: float = 1.0

    # the loop
    stale_gradients_warning: float = 0.05
    stale_gradients_error: float = 0.5
    eval_steps: float = 0.2
    clipped_info: float = 0.5
    clipped_warning: float = 0.9
    clamped: float = 0.5
    clip_factor: float = 0.1
    gradient_spike: float = 5.0
    gradient_growth: float = 1e3
    scaler_halvings: float = 0.05
    dead_rise: float = 0.3
    dead_rising_warning: float = 0.9

    # experiments: relative to the size (eval_change) or the spread of the outputs; rounding reaches 1e-6 to 1e-5
    eval_change: float = 1e-4
    few_beside: float = 8.0
    coupling: float = 1e-3
    order_lost: float = 0.1
    given_followed: float = 0.5
    affine_departure: float = 1e-4
    order_change: float = 1e-4
    output_spread: float = 1e-4
    generator_spread: float = 0.02
    generator_of_real: float = 0.3
    bn_momentum: float = 0.5
    bn_stale_gain: float = 0.1
    drop_high: float = 0.8
    shrunk: float = 0.05
    """Of the default scale of a weight, below which it was pulled to nothing."""
    smallest_rate: float = 1e-8
    """Learning rate from which a step must move a weight."""
    uphill: float = 0.05
    """Cosine between step and gradient from which the optimizer climbs."""
    eval_train_loss: float = 1.5
    eval_train_accuracy: float = 0.1
    eval_train_slight: float = 0.05

    # range of the last activation
    unreachable: float = 0.02
    score_bound: float = 2.0

    # samples, labels, splits
    duplicates: float = 0.05
    conflicting: float = 0.01
    order_excess: float = 0.5
    order_inputs: float = 0.9
    one_way: float = 0.99
    imbalance: float = 5.0
    rare_area: float = 0.7
    rare_precision: float = 0.2
    padding: float = 0.5
    target_offset: float = 10.0
    target_std: float = 1e3
    target_std_poor: float = 1e2
    target_size: float = 10.0
    target_rate: float = 1e-4
    leak: float = 0.01
    unseen: float = 0.01
    shift: float = 0.5
    """Difference of means in standard deviations, and ln of the ratio of standard deviations, between the splits."""
    mapping_gain: float = 0.3
    noisier: float = 0.1

    batch_drift: float = 3.0
    participation: float = 0.05
    """Of what independent channels have."""
    attention_logit: float = 1e4
    attention_flat: float = 0.99
    half_share: float = 0.125
    half_underflow: float = 0.1
    class_recall: float = 0.5
    confused: float = 0.15
    bias: float = 0.1
    spread_of_errors: float = 0.3
    slope_high: float = 1.25
    slope_low: float = 0.8
    plain_layers: float = 8.0
    bn_batch: float = 16.0
    bn_values: float = 8.0

    near_duplicates: float = 0.05
    near_leak: float = 0.05
    """Share of samples with a near double; famous sets of pictures hold 3 % (Barz and Denzler 2019)."""
    windows: float = 0.25
    copied_dimensions: float = 3.0
    copied_chance: float = 0.01
    """Pairs of equal samples of the two splits that chance would make."""
    shortcut_score: float = 0.99
    shortcut_second: float = 0.9
    shortcut_r2: float = 0.999
    shortcut_gap: float = 7.0
    """Classes that are cut from an evenly spread measurement lie 2 √3 of their deviations apart; this is twice as far.
    """
    shortcut_exact: float = 1e-5
    # capacity, latent variables, labels
    sunk: float = 1000.0
    """Times as far below zero as a loss began from it: no density and no distance takes a loss so far."""
    poor_r2: float = 0.7
    one_number: float = 1e-4
    """Second singular value of derivatives by the input over the first; what passes through one unit has rounding."""
    latent_nats: float = 1.0
    """Divergence of the posterior from the prior, a sample. Variational models that work have ten and more."""
    surer: float = 0.65
    """Chance that a right answer is surer than a wrong one. Healthy models have 0.73 and more."""
    longer_gain: float = 0.1
    short_score: float = 0.9
    short_loss: float = 1 / 3
    steep_fall: float = 0.15
    longer_gained: float = 0.25
    free_fall: float = 0.2
    two_lines_left: float = 0.1
    """Of the squared error of one line. Noise of any form leaves a quarter and more, other units a twentieth."""
    two_lines_steeper: float = 1.25

    # splits and fit: shares of the skill (1 = without mistake, 0 = no better than a constant answer)
    apart_area: float = 0.7
    apart_harm: float = 0.2
    target_variation: float = 0.25
    skill_high: float = 0.8
    skill_kept: float = 0.5
    few_by_class: float = 25.0
    few_gap: float = 0.15
    outdone: float = 0.1
    below_neighbours: float = 0.15

    calibration: float = 0.05
    inverted_auc: float = 0.4
    flow_share: float = 1e-3
    noise_times: float = 10.0

    embedding_spread: float = 0.05
    embedding_angle: float = 0.02
    embedding_told: float = 0.25
    labels_apart: float = 64.0
    apart_right: float = 0.15
    apart_order: float = 0.8
    pairs_crossed: float = 0.2
    flips_crossed: float = 0.5
    heads_agree: float = 0.9
    place_change: float = 1e-3
    update_ratio_leap: float = 10.0
    penalty_share: float = 0.1
    penalty_gain: float = 0.15
    places_apart: float = 0.02
    places_own: float = 2.0
    drowned_worth: float = 0.5
    drowned_errors: float = 5.0
    drowned_size: float = 10.0
    anew_gap: float = 0.15
    anew_errors: float = 4.0

    # training-targets-off: loss of R²; far errors more than among the data given, of what size, told by inputs
    misfit_lower: float = 0.05
    misfit_share: float = 0.02
    misfit_size: float = 0.3
    misfit_told: float = 0.2

    # maps that fit the own input: less often than in the other split
    maps_gap: float = 0.15
    maps_lower: float = 0.1
    maps_moved: float = 0.3
    maps_beside: float = 0.7

    # labels that no sureness tells from wrong ones, and that the model has learned by heart
    drawn_surer: float = 0.6
    drawn_by_heart: float = 0.05

    # inputs-mixed: share with the target of their lesser part, standard errors
    mixed_lesser: float = 0.15
    mixed_errors: float = 3.0

    asked_other: float = 0.25

    # going on with the training in other ways: gains over the loss, over going on as before, over the whole run
    way_gain: float = 0.05
    way_times: float = 3.0
    way_carried: float = 0.1
    way_of_run: float = 0.5
    way_after_collapse: float = 0.1

    # mode-collapse: of generated samples, over the same of real ones
    collapse_apart: float = 0.1
    collapse_covered: float = 0.6
    collapse_among: float = 0.75
    collapse_gone: float = 0.25

    outcome_r2: float = 0.1
    """R² from which a regressor counts as clearly better than the mean of the targets."""

    @property
    def set(self) -> dict[str, float]:
        """Return what differs from the defaults."""
        usual = Thresholds()
        return {name: v for name in self.__struct_fields__ if (v := getattr(self, name)) != getattr(usual, name)}

    def replace(self, overrides: dict[str, float]) -> Thresholds:
        """Return a copy with some thresholds set; an unknown name is an OptionError that lists the nearest ones."""
        for name, value in overrides.items():
            if name not in self.__struct_fields__:
                near = difflib.get_close_matches(name, self.__struct_fields__) or list(self.__struct_fields__)[:5]
                raise OptionError(f"There is no threshold named {name!r}.", hint=f"Nearest: {', '.join(near)}.")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise OptionError(f"Threshold {name} is {value!r}; expected a finite number.")
        return msgspec.structs.replace(self, **{name: float(value) for name, value in overrides.items()})
