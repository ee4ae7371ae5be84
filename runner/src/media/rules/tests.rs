//! Expectations are printed by the official functions (Python, torch 2.7.1 linspace).

use super::*;

fn checksum(sum: u32, values: impl IntoIterator<Item = u32>) -> u32 {
    values.into_iter().fold(sum, |sum, v| sum.wrapping_mul(31).wrapping_add(v))
}

#[test]
fn vae_size_follows_python_on_known_sizes() {
    for ((width, height, max, min), expected) in [
        ((832, 480, 848, 240), (832, 480)),
        ((1920, 1080, 848, 240), (848, 480)),
        ((176, 144, 848, 240), (288, 240)),
        ((1, 1, 848, 240), (240, 240)),
        ((1, 16_384, 848, 240), (16, 848)),
        ((853, 480, 848, 1), (848, 480)),
        ((333, 517, 848, 240), (336, 512)),
        ((24, 40, 848, 1), (32, 32)),
        ((1280, 720, 1280, 240), (1280, 720)),
        ((100, 99, 330, 240), (240, 240)),
    ] {
        assert_eq!(vae_size(width, height, max, min), expected, "{width}x{height}");
    }
}

#[test]
fn vae_size_follows_python_on_a_grid_of_sizes() {
    let mut sum = 0;
    for width in (1..3000).step_by(37) {
        for height in (1..2500).step_by(41) {
            for (max, min) in [(848, 240), (1280, 1), (333, 240)] {
                let (w, h) = vae_size(width, height, max, min);
                sum = checksum(sum, [w, h]);
            }
        }
    }
    assert_eq!(sum, 3_563_095_984);
}

#[test]
fn indices_follow_torch_on_known_clips() {
    let vae = |num_frames| Sampling::vae(16, num_frames, false);
    assert_eq!(
        vae(17).frame_indices(100, 25.0),
        [0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 19, 20, 22, 23, 25]
    );
    assert_eq!(vae(81).frame_indices(7, 30.0), [0, 2, 3, 4, 6]);
    assert_eq!(vae(81).frame_indices(1, 24.0), [0; 5]);
    assert_eq!(
        vae(13).frame_indices(382, 30_000.0 / 1001.0),
        [0, 2, 4, 6, 8, 10, 11, 13, 15, 17, 19, 21, 23]
    );
    assert_eq!(
        Sampling::vit(16, 81).frame_indices(132, 25.0),
        [0, 15, 29, 44, 58, 73, 87, 102, 116, 131]
    );
}

#[test]
fn only_the_renderer_takes_consecutive_frames_at_equal_rates() {
    let full = Sampling::vae(16, 81, false).frame_indices(18, 16.0);
    assert_eq!(full, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17]);
    let renderer = Sampling::vae(16, 81, true).frame_indices(20, 16.0);
    assert_eq!(renderer, (0..20).chain([19]).collect::<Vec<_>>());
}

#[test]
fn indices_follow_torch_on_a_grid_of_clips() {
    let totals = (1..200).step_by(7).chain([250, 300, 382, 1000, 5000]);
    let rates = [
        8.0,
        12.5,
        15.0,
        16.0,
        24_000.0 / 1001.0,
        24.0,
        25.0,
        30_000.0 / 1001.0,
        30.0,
        50.0,
        60.0,
        120.0,
    ];
    let samplings = [
        Sampling::vae(16, 81, false),
        Sampling::vit(16, 81),
        Sampling::vae(16, 82, true),
        Sampling::vae(24, 121, false),
        Sampling::vae(24, 121, true),
        Sampling::vit(16, 33),
        Sampling::vae(16, 5, true),
    ];
    let mut sum = 0;
    for total in totals {
        for rate in rates {
            for sampling in samplings {
                let indices = sampling.frame_indices(total, rate);
                sum = checksum(sum, indices.into_iter().map(|i| i as u32 + 1));
            }
        }
    }
    assert_eq!(sum, 1_120_183_227);
}

#[test]
fn absurd_rates_stay_within_the_cap_and_the_clip() {
    for rate in [1e-12, 1e-3, 1e12, f64::MAX] {
        let indices = Sampling::vae(16, 81, false).frame_indices(9, rate);
        assert!((1..=81).contains(&indices.len()) && indices.iter().all(|i| *i < 9), "{rate}");
    }
}

#[test]
fn counts_are_one_plus_multiples_of_four() {
    assert_eq!([1, 5, 6, 9, 81].map(latent_frames), [1, 2, 2, 3, 21]);
    assert_eq!([1, 3, 4, 81, 82, 84].map(|n| output_frames(n, None)), [1, 1, 5, 81, 81, 85]);
    assert_eq!([1, 81, 121].map(|n| output_frames(n, Some(11))), [1, 41, 41]);
    assert_eq!(output_frames(81, Some(1)), 1);
}

fn goldens() -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/rules.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn goldens_of_the_spatial_rule_agree() {
    for row in goldens()["spatial"].as_array().unwrap() {
        let at = |i: usize| row[i].as_u64().unwrap() as u32;
        assert_eq!(vae_size(at(0), at(1), at(2), at(3)), (at(4), at(5)), "{row}");
    }
}

/// The goldens are not clamped to the clip, our indices are.
#[test]
fn goldens_of_the_temporal_rule_agree() {
    for case in goldens()["temporal"].as_array().unwrap() {
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let sampling = Sampling {
            target_fps: case["target_fps"].as_f64().unwrap(),
            factor: number("factor"),
            add_one: number("add_one") == 1,
            max_frames: number("cap"),
            snap_equal_rates: case["renderer_only"].as_bool().unwrap(),
        };
        let indices = sampling.frame_indices(number("frames"), case["fps"].as_f64().unwrap());
        let expected = case["indices"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap());
        let expected: Vec<_> = expected.map(|i| (i as usize).min(number("frames") - 1)).collect();
        assert_eq!(indices, expected, "{case}");
    }
}
