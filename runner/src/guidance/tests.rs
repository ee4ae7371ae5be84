use super::*;

const OMEGAS: Omegas = Omegas { vid: 1.25, img: 4.5, txt: 4.0, tgt: 0.5, scale: 0.8 };
const APG: ApgParams = ApgParams { eta: 0.5, norm_threshold: [50.0; 3], momentum: 0.0 };
const BOTH: Available = Available { videos: 1, images: 2 };
const NOTHING: Available = Available { videos: 0, images: 0 };

fn guidance(mode: GuidanceMode, available: Available) -> Guidance {
    Guidance::new(mode, available, OMEGAS, APG).unwrap()
}

/// Latents [16,3,1,2] filled with one value.
fn filled(value: f32) -> Array4<f32> {
    Array4::from_elem((16, 3, 1, 2), value)
}

fn combine(guidance: &mut Guidance, values: &[f32]) -> f32 {
    let predictions: Vec<Array4<f32>> = values.iter().map(|&value| filled(value)).collect();
    let views: Vec<ArrayView4<f32>> = predictions.iter().map(|p| p.view()).collect();
    guidance.combine(&views, &filled(0.5).view(), 0.25).unwrap()[[5, 1, 0, 1]]
}

#[test]
fn each_term_gets_its_own_omega() {
    let mut rv2v = guidance(GuidanceMode::Rv2v, BOTH);
    assert_eq!(combine(&mut rv2v, &[1.0, 3.0, 6.0, 10.0]), 1.0 + 1.25 * 2.0 + 4.5 * 3.0 + 16.0);
    let mut chain = guidance(GuidanceMode::V2vChain, BOTH);
    assert_eq!(combine(&mut chain, &[1.0, 3.0, 6.0]), 1.0 + 1.25 * 2.0 + 4.0 * 3.0);
}

#[test]
fn the_switch_scales_every_omega_once() {
    let mut t2v = guidance(GuidanceMode::T2v, BOTH);
    t2v.switch_to_low_noise();
    assert_eq!(combine(&mut t2v, &[1.0, 2.0]), 1.0 + (4.0 * 0.8) as f32);
    t2v.switch_to_low_noise();
    assert_eq!(combine(&mut t2v, &[1.0, 2.0]), 1.0 + (4.0 * 0.8) as f32);
}

/// Without sources e0 = eV = eVI: two predictions must give what four equal ones would.
#[test]
fn shared_forwards_give_the_plain_result() {
    let mut shared = guidance(GuidanceMode::Rv2v, NOTHING);
    assert_eq!(shared.branches().len(), 2);
    let mut plain = guidance(GuidanceMode::Rv2v, BOTH);
    assert_eq!(combine(&mut shared, &[1.0, 3.0]), combine(&mut plain, &[1.0, 1.0, 1.0, 3.0]));
}

/// With eta 1 and no limit N is the identity, and x0 space equals velocity space.
#[test]
fn a_free_projection_is_plain_guidance() {
    let apg = ApgParams { eta: 1.0, norm_threshold: [0.0; 3], momentum: 0.0 };
    let mut free = Guidance::new(GuidanceMode::T2vApg, BOTH, OMEGAS, apg).unwrap();
    let mut plain = guidance(GuidanceMode::T2v, BOTH);
    let (free, plain) = (combine(&mut free, &[1.0, 2.5]), combine(&mut plain, &[1.0, 2.5]));
    assert!((free - plain).abs() < 1e-5, "{free} {plain}");
}

#[test]
fn wrong_counts_and_shapes_are_named() {
    let mut t2v = guidance(GuidanceMode::T2v, BOTH);
    let (x, odd) = (filled(0.0), Array4::zeros((16, 3, 2, 1)));
    let error = t2v.combine(&[x.view()], &x.view(), 0.5).unwrap_err();
    assert_eq!(error, GuidanceError::Predictions { expected: 2, found: 1 });
    let error = t2v.combine(&[x.view(), odd.view()], &x.view(), 0.5).unwrap_err();
    let shapes = [vec![16, 3, 1, 2], vec![16, 3, 2, 1]];
    let [expected, found] = shapes;
    assert_eq!(error, GuidanceError::Shape { expected, found });
}

#[test]
fn settings_must_be_finite() {
    let apg = ApgParams { norm_threshold: [50.0, f64::NAN, 50.0], ..APG };
    let error = Guidance::new(GuidanceMode::T2v, BOTH, OMEGAS, apg).err().unwrap();
    assert!(error.to_string().contains("norm_threshold"), "{error}");
    let omegas = Omegas { img: f64::INFINITY, ..OMEGAS };
    assert!(Guidance::new(GuidanceMode::T2v, BOTH, omegas, APG).is_err());
}

/// Without sources e1 = e0: three predictions must give what the official four do; with rv2v five
/// instead of six, and with every source left out three.
#[test]
fn the_reference_schedule_gives_the_same_velocity() {
    let value = |branch: &Branch| match (branch.context, branch.sources) {
        (Context::Negative, SourceSet::None) => 1.0,
        (Context::Negative, SourceSet::FirstVideo) => 2.5,
        (Context::Negative, _) => 4.0,
        (Context::Positive, _) => 7.0,
        (Context::Planned, _) => 6.0,
    };
    let run = |guidance: &mut Guidance| {
        let values: Vec<f32> = guidance.branches().iter().map(value).collect();
        combine(guidance, &values)
    };
    for (mode, available, unique, official) in [
        (GuidanceMode::VaeTxtVitWapg, NOTHING, 3, 4),
        (GuidanceMode::Rv2vWapg, NOTHING, 3, 6),
        (GuidanceMode::Rv2vWapg, BOTH, 5, 6),
    ] {
        let mut shared = guidance(mode, available);
        let mut reference = guidance(mode, available).with_reference_schedule(true);
        assert_eq!((shared.branches().len(), reference.branches().len()), (unique, official));
        assert_eq!(run(&mut shared), run(&mut reference), "{mode}");
        shared.switch_to_low_noise();
        reference.switch_to_low_noise();
        assert_eq!(reference.branches().len(), official);
        assert_eq!(run(&mut shared), run(&mut reference), "{mode} after the switch");
    }
}

#[test]
fn a_scale_of_zero_collapses_every_term_after_the_switch() {
    let omegas = Omegas { scale: 0.0, ..OMEGAS };
    let mut rv2v = Guidance::new(GuidanceMode::Rv2vWapg, BOTH, omegas, APG).unwrap();
    assert_eq!(rv2v.branches().len(), 5);
    rv2v.switch_to_low_noise();
    assert_eq!(combine(&mut rv2v, &[3.0]), 3.0);
}

#[test]
fn the_full_model_ignores_the_settings_of_apg() {
    let wild = ApgParams { eta: -3.0, norm_threshold: [0.01; 3], momentum: 0.9 };
    let mut ignored = Guidance::new(GuidanceMode::FullV2vApg, BOTH, OMEGAS, wild).unwrap();
    let mut usual = guidance(GuidanceMode::FullV2vApg, BOTH);
    for _ in 0..2 {
        assert_eq!(combine(&mut ignored, &[1.0, 2.5]), combine(&mut usual, &[1.0, 2.5]));
    }
}
