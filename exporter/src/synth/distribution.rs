//! Means and standard deviations that keep activations of order one at any depth (design §7).

use bernini_graphs::Component;

use super::presets::Preset;

/// Projections that write to a residual stream.
const RESIDUAL: [&str; 9] = [
    "to_out.0.weight",
    "ffn.net.2.weight",
    "SelfAttention.o.weight",
    "DenseReluDense.wo.weight",
    "conv2.weight",
    "attentions.0.proj.weight",
    "attn.proj.weight",
    "o_proj.weight",
    "down_proj.weight",
];

/// `(mean, std)` of the tensor called `name` in `component`.
pub(super) fn of(preset: Preset, component: Component, name: &str, shape: &[usize]) -> (f64, f64) {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    if leaf == "gamma" || (leaf == "weight" && shape.len() == 1) {
        return (1.0, 0.1);
    }
    match leaf {
        "bias" => return (0.0, 0.05),
        "scale_shift_table" => return (0.0, 0.2),
        _ => {}
    }
    match name {
        "shared.weight"
        | "encoder.embed_tokens.weight"
        | "model.embed_tokens.weight"
        | "mask_tokens" => (0.0, 1.0),
        _ if name.contains("relative_attention_bias") => (0.0, 0.5),
        _ => (0.0, weight_std(preset, component, name, shape)),
    }
}

/// `(mean, std)` of a tensor whose deviations are cubed, in a checkpoint whose attentions are hard for
/// FP8; `None` for what is as in any other.
pub(super) fn peaky(component: Component, name: &str) -> Option<(f64, f64)> {
    if !matches!(component, Component::Transformer | Component::Transformer2) {
        return None;
    }
    // Scores grow with the product of both norms, and a bias is an offset that all keys share.
    let of =
        [("norm_q.weight", (2.0, 0.5)), ("norm_k.weight", (2.0, 0.5)), ("to_k.bias", (0.0, 1.0))];
    of.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, values)| values)
}

/// Linear layers and convolutions: N(0, 0.02) where widths are real, and what multiplies as much
/// where they are not.
fn weight_std(preset: Preset, component: Component, name: &str, shape: &[usize]) -> f64 {
    use Component as C;
    let fan_in = shape.iter().skip(1).product::<usize>().max(1) as f64;
    let plain = match (preset, component) {
        (Preset::Deep, C::TextEncoder | C::Transformer | C::Transformer2) => {
            // Patches and sinusoids have the release's width.
            0.02 * if fan_in > 256.0 { 8f64.sqrt() } else { 1.0 }
        }
        (Preset::Tiny | Preset::Deep, _) | (_, C::Vae) => fan_in.sqrt().recip(),
        (Preset::Slim | Preset::Full, _) => 0.02,
    };
    let of_block = name.contains("res_blocks") && name.ends_with("mlp.2.weight");
    let residual = of_block || RESIDUAL.iter().any(|end| name.ends_with(end));
    // T5 does not divide its scores by the root of the head size: its queries are small instead.
    let query = component == Component::TextEncoder && name.ends_with("SelfAttention.q.weight");
    // Two writes per layer.
    let divisor = if residual {
        2.0 * preset.layers(component) as f64
    } else if query {
        64.0
    } else {
        1.0
    };
    plain / divisor.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stack_of_any_depth_adds_to_its_residual_has_one_size() {
        let std = |preset, name| of(preset, Component::Transformer, name, &[5120, 13824]).1;
        let (plain, residual) = ("blocks.7.ffn.net.0.proj.weight", "blocks.7.ffn.net.2.weight");
        for (preset, layers) in [(Preset::Slim, 2.0f64), (Preset::Full, 40.0)] {
            assert_eq!(std(preset, plain), 0.02);
            assert!((std(preset, residual) - 0.02 / (2.0 * layers).sqrt()).abs() < 1e-15);
        }
    }

    #[test]
    fn a_narrow_layer_multiplies_as_much_as_the_wide_one_that_it_stands_for() {
        let gain = |preset, name, width: usize| {
            of(preset, Component::Transformer, name, &[64, width]).1 * (width as f64).sqrt()
        };
        for (name, wide, narrow) in [
            ("blocks.7.attn1.to_q.weight", 5120, 640),
            ("blocks.7.ffn.net.2.weight", 13824, 1728),
            ("patch_embedding.weight", 64, 64),
        ] {
            let (full, deep) = (gain(Preset::Full, name, wide), gain(Preset::Deep, name, narrow));
            assert!((full - deep).abs() < 1e-12, "{name}: {full} and {deep}");
        }
    }
}
