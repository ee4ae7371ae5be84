//! Networks, configurations and builds.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{BuildProgress, DataType, InputShapes, TensorInfo};

#[test]
fn a_network_becomes_a_plan() {
    let (builder, mut network, config) = parsed();
    let info = |name: &str, dtype, shape: [i64; 2]| TensorInfo {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
    };
    assert_eq!(network.inputs(), [info("x", DataType::F32, [-1, 3])]);
    assert_eq!(network.outputs(), [info("y", DataType::Bf16, [-1, 5])]);
    network.set_input_shape("x", &[7, 3]).expect("set");
    assert_eq!(network.inputs()[0].shape, [7, 3]);
    assert_eq!(network.layers(), 7);
    assert_eq!(builder.build(&network, &config).expect("a plan").as_ref(), b"plan");
    assert_eq!(config.timing_cache().expect("bytes"), b"timings");
}

#[test]
fn errors_carry_message_and_log_of_their_call_only() {
    let (builder, network, config) = parsed();
    fake::refuse("network_create", "early", "from before");
    assert!(builder.network().is_err());
    fake::refuse("builder_build", "no kernel", "conv has no tactic");
    let error = refused(builder.build(&network, &config));
    let (message, log) = ("no kernel".to_owned(), vec!["error: conv has no tactic".to_owned()]);
    assert_eq!(error, Error::TensorRt { call: "build an engine", message, log });
    let text = "TensorRT: build an engine: no kernel\n  error: conv has no tactic";
    assert_eq!(error.to_string(), text);
    fake::refuse("builder_build", "", "");
    assert!(refused(builder.build(&network, &config)).to_string().ends_with("refused"));
}

#[test]
fn the_parser_s_messages_travel() {
    let (builder, ..) = parsed();
    fake::refuse("parser_parse", "bad rank at node /blocks/3 (MatMul)", "");
    let mut network = builder.network().expect("a network");
    let error = refused(network.parse(b"", Path::new("m.onnx"))).to_string();
    assert!(error.contains("bad rank at node /blocks/3 (MatMul)"), "{error}");
}

#[test]
fn paths_and_names_that_cannot_cross_are_refused() {
    let (_, mut network, mut config) = parsed();
    for path in [Path::new(OsStr::from_bytes(b"a\xff")), Path::new("a\0b")] {
        assert!(matches!(refused(network.parse(b"", path)), Error::Argument { .. }));
    }
    let shape = vec![1; 9];
    let ranges =
        InputShapes { name: "x".into(), min: shape.clone(), opt: shape.clone(), max: shape };
    assert!(matches!(refused(config.add_profile(&[ranges])), Error::Argument { .. }));
    let unknown = refused(network.set_input_shape("y", &[1]));
    let known = vec!["x".to_owned()];
    assert_eq!(unknown, Error::UnknownTensor { side: "input", name: "y".into(), known });
}

#[test]
fn parts_of_another_builder_are_refused() {
    let (builder, network, config) = parsed();
    let (_, other_network, other_config) = parsed();
    for (network, config) in [(&other_network, &config), (&network, &other_config)] {
        assert!(matches!(refused(builder.build(network, config)), Error::Argument { .. }));
    }
}

#[test]
fn profiles_pass_all_three_bounds() {
    let (_, _, mut config) = parsed();
    fake::events();
    let [min, opt, max] = [1, 5, 9].map(|batch| vec![batch, 3]);
    let ranges = [InputShapes { name: "x".into(), min, opt, max }];
    assert_eq!(config.add_profile(&ranges), Ok(3));
    let bounds = [(0, 1), (1, 5), (2, 9)].map(|(i, batch)| format!("x {i} Some([{batch}, 3])"));
    assert_eq!(fake::events(), bounds);
    fake::refuse("config_add_profile", "", "");
    assert!(refused(config.add_profile(&ranges)).to_string().contains("min <= opt <= max"));
    fake::refuse("profile_set", "", "");
    assert!(refused(config.add_profile(&ranges)).to_string().contains("x [1, 3] does not fit"));
}

#[test]
fn settings_arrive() {
    let (_, _, mut config) = parsed();
    fake::events();
    config.set_workspace(1 << 40);
    config.set_optimization_level(5);
    assert_eq!(fake::events(), ["workspace 1099511627776", "level 5"]);
}

#[test]
fn missing_builder_resources_are_recognised() {
    let line = "Unable to load library: libnvinfer_builder_resource_sm90.so.10.15.1";
    fake::refuse("builder_create", "", line);
    let error = refused(Builder::new(&fake::tensorrt()));
    assert!(matches!(&error, Error::BuilderResource { .. }), "{error}");
    assert!(error.to_string().contains("builder_resource_sm90"));
    fake::refuse("builder_create", "", "out of memory");
    assert!(matches!(refused(Builder::new(&fake::tensorrt())), Error::TensorRt { .. }));
}

#[test]
fn progress_says_phase_and_steps() {
    let (builder, network, mut config) = parsed();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    config
        .set_progress(move |progress| {
            record.lock().expect("not poisoned").push(progress);
            true
        })
        .expect("a monitor");
    builder.build(&network, &config).expect("a plan");
    let at = |step| BuildProgress { phase: "tactics".into(), step, steps: 2 };
    assert_eq!(*seen.lock().expect("not poisoned"), [at(0), at(1), at(2)]);
}

#[test]
fn a_callback_cancels_its_build_and_no_later_one() {
    let (builder, network, mut config) = parsed();
    let mut builds = 0;
    config
        .set_progress(move |progress| {
            builds += u32::from(progress.step == 0);
            progress.step < 1 || builds > 1
        })
        .expect("a monitor");
    assert_eq!(refused(builder.build(&network, &config)), Error::Cancelled);
    builder.build(&network, &config).expect("the second build goes on");
}

#[test]
fn a_panicking_callback_becomes_an_error() {
    let (builder, network, mut config) = parsed();
    config.set_progress(|progress| panic!("at {}", progress.step)).expect("a monitor");
    let error = refused(builder.build(&network, &config));
    let message = "at 0".to_owned();
    assert_eq!(error, Error::CallbackPanicked { callback: "progress", message });
}
