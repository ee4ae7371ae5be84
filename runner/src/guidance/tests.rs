use super::*;

const OMEGAS: Omegas = Omegas { vid: 1.25, img: 4.5, txt: 4.0, tgt: 0.5, scale: 0.8 };
const APG: ApgParams = ApgParams { eta: 0.5, norm_threshold: [50.0; 3], momentum: 0.0 };
const BOTH: Available = Available { videos: 1, images: 2 };

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
    let none = Available { videos: 0, images: 0 };
    let mut shared = guidance(GuidanceMode::Rv2v, none);
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
