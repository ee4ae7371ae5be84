use super::*;

fn of(names: &[&str], planner: bool) -> BTreeMap<Submodule, Vec<ProfileEntry>> {
    let workloads: Vec<Workload> = names.iter().map(|name| name.parse().unwrap()).collect();
    profiles(&workloads, planner.then_some(112))
}

/// `symbol min opt max` of every profile, and its name.
fn show(profiles: &[ProfileEntry]) -> Vec<(String, String)> {
    let sizes = |profile: &ProfileEntry| {
        let sizes = profile.sizes.iter();
        let sizes = sizes.map(|(name, r)| format!("{name} {} {} {}", r.min, r.opt, r.max));
        sizes.collect::<Vec<_>>().join("; ")
    };
    profiles.iter().map(|profile| (profile.name.clone(), sizes(profile))).collect()
}

fn line(name: &str, sizes: &str) -> (String, String) {
    (name.into(), sizes.into())
}

#[test]
fn experts_have_one_profile_for_each_token_count() {
    let all = of(&["t2v-480p", "rv2v-480p", "v2v-480p"], false);
    let context = "context 512 512 2048; tokens";
    let expected = [
        line(
            "t2v-480p targets, rv2v-480p targets, v2v-480p targets",
            &format!("{context} 32760 32760 32760"),
        ),
        line(
            "rv2v-480p targets+videos, v2v-480p targets+videos",
            &format!("{context} 65520 65520 65520"),
        ),
        line("rv2v-480p targets+videos+pictures", &format!("{context} 67080 67080 67080")),
    ];
    assert_eq!(show(&all[&Submodule::Transformer]), expected);
    assert_eq!(show(&all[&Submodule::Transformer2]), expected);
    let context = [line("t2v-480p, rv2v-480p, v2v-480p", "context 512 512 2048")];
    assert_eq!(show(&all[&Submodule::TransformerContext]), context);
    let text = [line("t2v-480p, rv2v-480p, v2v-480p", "text_tokens 1 512 512")];
    assert_eq!(show(&all[&Submodule::TextEncoder]), text);
}

#[test]
fn only_what_a_workload_needs_is_there() {
    use Submodule::*;
    let has = |names: &[&str], submodule| of(names, true).contains_key(&submodule);
    for submodule in [VaeEncoderFirst, VaeEncoderNext, Vision] {
        assert!(!has(&["t2v-480p"], submodule), "{submodule}");
        assert!(has(&["v2v-480p"], submodule), "{submodule}");
    }
    assert!(!has(&["t2i-512"], VaeDecoderNext));
    assert!(has(&["t2i-512", "t2v-480p"], VaeDecoderNext));
    let picture = of(&["832x480x81+512x512x1"], true);
    assert!(picture.contains_key(&VaeEncoderFirst) && !picture.contains_key(&VaeEncoderNext));
    assert!(of(&["v2v-480p"], false).keys().all(|submodule| !submodule.component().is_planner()));
}

#[test]
fn the_vae_has_one_profile_for_each_size() {
    let all = of(&["v2v-480p", "640x384x49+832x480x81+64x48x1", "v2v-720p"], false);
    let sides = |h: usize, w: usize| format!("latent_height {h} {h} {h}; latent_width {w} {w} {w}");
    let next = |h, w| format!("latent_frames 1 1 1; {}", sides(h, w));
    let custom = "640x384x49+832x480x81+64x48x1";
    let shared = format!("v2v-480p 832x480, {custom} 832x480");
    let expected = [line(&shared, &next(60, 104)), line("v2v-720p 1280x720", &next(90, 160))];
    assert_eq!(show(&all[&Submodule::VaeEncoderNext]), expected);
    let expected = [
        line(&shared, &sides(60, 104)),
        line(&format!("{custom} 64x48"), &sides(6, 8)),
        line("v2v-720p 1280x720", &sides(90, 160)),
    ];
    assert_eq!(show(&all[&Submodule::VaeEncoderFirst]), expected);
    let expected = [
        line("v2v-480p 832x480", &next(60, 104)),
        line(&format!("{custom} 640x384"), &next(48, 80)),
        line("v2v-720p 1280x720", &next(90, 160)),
    ];
    assert_eq!(show(&all[&Submodule::VaeDecoderNext]), expected);
}

/// v2v at 480p: 5·6·10 = 300 source and 300 target tokens (D.11), 25 steps reveal 12 each, 2
/// branches in the head, windows 5·2·3.
#[test]
fn the_planner_is_fastest_at_its_workload() {
    let all = of(&["t2v-480p", "v2v-480p"], true);
    let both = "t2v-480p, v2v-480p";
    let prefix = "batch 1 3 3; past 0 0 0; tokens 1 428 2048";
    let target = "batch 1 2 3; past 1 428 2048; tokens 1 300 2048";
    let expected = [
        line("t2v-480p prefix, v2v-480p prefix", prefix),
        line("t2v-480p target, v2v-480p target", target),
    ];
    assert_eq!(show(&all[&Submodule::PlannerLm]), expected);
    let rows = "batch 1 2 3; rows 1 12 32";
    assert_eq!(show(&all[&Submodule::PredVit]), [line(both, rows)]);
    assert_eq!(show(&all[&Submodule::FlowHead]), [line(both, rows)]);
    let modulation = format!("{rows}; steps 1 5 8");
    assert_eq!(show(&all[&Submodule::FlowHeadModulation]), [line(both, &modulation)]);
    assert_eq!(show(&all[&Submodule::ProjGen]), [line(both, "tokens 1 728 2048")]);
    let vision = "frame_tokens 1 60 64; frames 1 5 32; windows 1 30 512";
    assert_eq!(show(&all[&Submodule::Vision]), [line("v2v-480p", vision)]);
}

#[test]
fn large_workloads_get_long_contexts() {
    // 1021 frames: 63 slices of 60 tokens, twice, and 1,024 of text: 8,584, rounded to 8,704.
    let all = of(&["832x480x1021+832x480x1021", "t2v-480p"], true);
    let context = &all[&Submodule::Transformer2Context][0].sizes["context"];
    assert_eq!((context.min, context.opt, context.max), (512, 512, 8704));
    assert_eq!(all[&Submodule::ProjGen][0].sizes["tokens"].max, 8704);
}
