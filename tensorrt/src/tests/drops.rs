//! C++ objects are destroyed before what they point to.

use super::*;

/// Says when it is dropped.
struct Witness(&'static str);

impl Drop for Witness {
    fn drop(&mut self) {
        fake::event(self.0);
    }
}

fn position(events: &[String], event: &str) -> usize {
    let found = events.iter().position(|other| other == event);
    found.unwrap_or_else(|| panic!("no {event} in {events:?}"))
}

#[test]
fn what_a_builder_made_may_outlive_it_in_any_order() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
        let (builder, network, config) = parsed();
        let plan = builder.build(&network, &config).expect("a plan");
        let mut parts: [Option<Box<dyn std::any::Any>>; 4] = [
            Some(Box::new(builder)),
            Some(Box::new(network)),
            Some(Box::new(config)),
            Some(Box::new(plan)),
        ];
        order.into_iter().for_each(|part: usize| parts[part] = None);
        fake::assert_all_gone();
        let events = fake::events();
        assert!(events.ends_with(&["logger destroyed".into(), "log dropped".into()]), "{events:?}");
    }
}

#[test]
fn an_engine_keeps_its_runtime_and_a_context_its_engine() {
    let engine = engine();
    let second = engine.clone();
    let context = engine.context().expect("a context");
    drop((engine, second));
    drop(context);
    fake::assert_all_gone();
    let events = fake::events();
    let order = ["context", "engine", "runtime", "logger"].map(|kind| format!("{kind} destroyed"));
    assert!(events.starts_with(&order), "{events:?}");
}

#[test]
fn a_progress_callback_outlives_its_monitor_and_that_the_configuration() {
    let (builder, network, mut config) = parsed();
    let witness = Witness("callback dropped");
    config
        .set_progress(move |_| {
            let _ = &witness;
            true
        })
        .expect("a monitor");
    drop((builder, network));
    drop(config);
    fake::assert_all_gone();
    let events = fake::events();
    let order = ["config destroyed", "monitor destroyed", "callback dropped"];
    let order = order.map(|event| position(&events, event));
    assert!(order.is_sorted(), "{events:?}");
}

#[test]
fn replaced_callbacks_and_caches_go_after_they_are_taken_off() {
    let (_, _, mut config) = parsed();
    for _ in 0..2 {
        config.set_progress(|_| true).expect("a monitor");
        assert_eq!(config.set_timing_cache(b"timings"), Ok(true));
        assert_eq!(config.set_timing_cache(b"damaged"), Ok(false));
        assert_eq!(config.set_timing_cache(b"other GPU"), Ok(false));
    }
    drop(config);
    fake::assert_all_gone();
}

#[test]
fn a_network_keeps_the_weights_of_every_model_it_was_given() {
    let (_, mut network, _) = parsed();
    fake::refuse("parser_parse", "a second model", "");
    assert!(network.parse(b"", Path::new("m")).is_err());
    assert!(!fake::events().contains(&"parser destroyed".into()));
    drop(network);
    fake::assert_all_gone();
}

#[test]
fn a_failed_call_leaves_nothing_behind() {
    let tensorrt = fake::tensorrt();
    let builder = Builder::new(&tensorrt).expect("a builder");
    for call in ["network_create", "config_create", "parser_create", "cache_create"] {
        fake::refuse(call, "no", "");
    }
    assert!(builder.network().is_err() && builder.config().is_err());
    fake::allow();
    let mut network = builder.network().expect("a network");
    fake::refuse("cache_create", "no", "");
    assert!(builder.config().is_err());
    fake::refuse("parser_parse", "no", "");
    assert!(network.parse(b"", Path::new("m")).is_err());
    let runtime = Runtime::new(&tensorrt).expect("a runtime");
    let engine = runtime.deserialize(b"plan").expect("an engine");
    fake::refuse("context_create", "no", "");
    assert!(engine.context().is_err());
    drop((builder, network, runtime, engine, tensorrt));
    fake::assert_all_gone();
}

#[test]
fn a_profiler_is_taken_off_before_it_goes() {
    let mut context = ready();
    let layers = context.profile_layers(&stream()).expect("profiled");
    assert_eq!(layers, [("gemm".to_owned(), 1.5), ("norm".to_owned(), 0.25)]);
    let events = fake::events();
    let gone = ["profiler destroyed", "layers dropped", "context destroyed"].map(String::from);
    assert!(events.ends_with(&gone), "{events:?}");
    fake::refuse("context_enqueue", "no", "");
    assert!(context.profile_layers(&stream()).is_err());
    fake::allow();
    context.enqueue(&stream()).expect("no profiler is left");
    drop(context);
    fake::assert_all_gone();
}

#[test]
fn a_context_keeps_its_buffers() {
    let mut context = ready();
    let x = buffer(0x3000, 24);
    context.bind("x", x.clone(), 0).expect("bound");
    assert_eq!(Arc::strong_count(&x), 2);
    context.bind("x", buffer(0x4000, 24), 0).expect("bound");
    assert_eq!(Arc::strong_count(&x), 1);
    let memory = buffer(0x5000, 100);
    context.set_memory(memory.clone()).expect("enough");
    assert_eq!(Arc::strong_count(&memory), 2);
    drop(context);
    assert_eq!(Arc::strong_count(&memory), 1);
}

#[test]
fn a_context_that_lets_go_of_its_buffers_runs_again_once_it_has_new_ones() {
    let mut context = ready();
    let (x, memory) = (buffer(0x3000, 24), buffer(0x5000, 100));
    context.bind("x", x.clone(), 0).expect("bound");
    context.set_memory(memory.clone()).expect("enough");
    context.enqueue(&stream()).expect("runs");
    context.release_tensors(|buffer| Arc::ptr_eq(buffer, &x));
    context.enqueue(&stream()).expect_err("y is gone");
    context.release_tensors(|_| false);
    context.release_memory();
    assert_eq!((Arc::strong_count(&x), Arc::strong_count(&memory)), (1, 1));
    let not_bound = |tensor: &str| Error::NotBound { tensor: tensor.into() };
    assert_eq!(refused(context.enqueue(&stream())), not_bound("x"));
    context.bind("x", x, 0).expect("bound");
    context.bind("y", buffer(0x6000, 20), 0).expect("bound");
    assert_eq!(refused(context.enqueue(&stream())), not_bound("activation memory"));
    context.set_memory(memory).expect("enough");
    context.enqueue(&stream()).expect("runs; shapes are kept");
}
