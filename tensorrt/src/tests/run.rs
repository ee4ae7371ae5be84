//! Engines and contexts.

use super::*;
use crate::DataType;

#[test]
fn an_engine_describes_itself() {
    let engine = engine();
    let tensors = engine.tensors();
    let names: Vec<_> = tensors.iter().map(|tensor| (&*tensor.name, tensor.input)).collect();
    assert_eq!(names, [("x", true), ("y", false)]);
    assert_eq!((tensors[1].dtype, &*tensors[1].shape), (DataType::Bf16, &[-1, 5][..]));
    assert_eq!(engine.profiles(), 2);
    assert_eq!(engine.activation_bytes(1), 200);
    assert_eq!(engine.layer_count(), 4);
    assert_eq!(engine.layers().expect("json"), r#"{"Layers": []}"#);
    let shapes = engine.profile_shape("x", 1).expect("shapes");
    assert_eq!(shapes, [[10, 3], [11, 3], [12, 3]].map(|shape| shape.to_vec()));
    assert!(engine.profile_shape("x", 2).is_err());
    assert!(matches!(refused(engine.profile_shape("y", 0)), Error::UnknownTensor { .. }));
}

#[test]
fn a_ready_context_runs() {
    let mut context = ready();
    assert_eq!(context.shape("y"), Ok(vec![2, 5]));
    fake::events();
    context.enqueue(&stream()).expect("runs");
    assert_eq!(fake::events(), ["enqueue"]);
}

#[test]
fn runs_without_a_change_are_recorded_once() {
    let (mut context, stream, other) = (ready(), stream(), stream());
    let mut queued = |change: &dyn Fn(&mut Context)| {
        change(&mut context);
        fake::events();
        (0..4).for_each(|_| context.enqueue(&stream).expect("runs"));
        fake::events().iter().filter(|event| *event == "enqueue").count()
    };
    assert_eq!(queued(&|_| {}), 2, "a run and a record");
    assert_eq!(queued(&|_| {}), 0, "the record serves");
    assert_eq!(queued(&|context| context.release_tensors(|_| true)), 0, "nothing was let go");
    assert_eq!(queued(&|context| context.bind("x", buffer(0x1000, 24), 0).expect("bound")), 2);
    assert_eq!(queued(&|context| context.set_shape("x", &[1, 3]).expect("a shape")), 2);
    assert_eq!(queued(&|context| context.set_memory(buffer(0x100, 100)).expect("enough")), 2);
    assert_eq!(queued(&|context| drop(context.profile_layers(&stream).expect("layers"))), 0);
    context.enqueue(&other).expect("runs");
    assert_eq!(fake::events(), ["enqueue"], "another stream has no part in the record");
}

#[test]
fn what_cannot_be_recorded_runs_all_the_same() {
    let (mut context, stream) = (ready(), stream());
    context.enqueue(&stream).expect("runs");
    fake::refuse("context_enqueue", "no", "");
    fake::events();
    context.enqueue(&stream).expect_err("refused in the record, and then as a run");
    fake::allow();
    context.enqueue(&stream).expect("runs");
    context.enqueue(&stream).expect("runs");
    assert_eq!(fake::events(), ["enqueue"; 4], "the record is tried once");
}

#[test]
fn enqueue_refuses_what_is_not_bound_or_not_known() {
    let mut context = engine().context().expect("a context");
    let not_bound = |tensor: &str| Error::NotBound { tensor: tensor.into() };
    let shape = vec![-1, 3];
    let unknown = Error::UnknownShape { tensor: "x".into(), shape };
    assert_eq!(refused(context.enqueue(&stream())), unknown);
    assert_eq!(refused(context.shape("x")), unknown);
    context.set_shape("x", &[2, 3]).expect("a shape");
    assert_eq!(refused(context.enqueue(&stream())), not_bound("x"));
    context.bind("x", buffer(1, 24), 0).expect("bound");
    assert_eq!(refused(context.enqueue(&stream())), not_bound("y"));
    context.bind("y", buffer(2, 20), 0).expect("bound");
    assert_eq!(refused(context.enqueue(&stream())), not_bound("activation memory"));
    context.set_memory(buffer(3, 100)).expect("enough");
    context.enqueue(&stream()).expect("runs");
}

#[test]
fn enqueue_refuses_buffers_that_are_too_small() {
    let mut context = ready();
    let small = |tensor: &str, needed, available| Error::BufferTooSmall {
        tensor: tensor.into(),
        needed,
        available,
    };
    context.enqueue(&stream()).expect("runs");
    context.set_shape("x", &[3, 3]).expect("a shape");
    assert_eq!(refused(context.enqueue(&stream())), small("x", 36, 24));
    context.bind("x", buffer(1, 40), 5).expect("bound");
    assert_eq!(refused(context.enqueue(&stream())), small("x", 36, 35));
    context.bind("x", buffer(1, 41), 5).expect("bound");
    assert_eq!(refused(context.enqueue(&stream())), small("y", 30, 20));
    context.bind("y", buffer(2, 30), 0).expect("bound");
    context.enqueue(&stream()).expect("runs");
    assert_eq!(refused(context.set_memory(buffer(3, 99))), small("activation memory", 100, 99));
    context.enqueue(&stream()).expect("keeps its memory");
}

#[test]
fn another_profile_needs_its_own_shapes_and_memory() {
    let mut context = ready();
    fake::events();
    context.set_profile(1, &stream()).expect("a profile");
    assert_eq!(fake::events(), ["memory 0x100 100"]);
    assert!(matches!(refused(context.enqueue(&stream())), Error::UnknownShape { .. }));
    context.set_shape("x", &[2, 3]).expect("a shape");
    let error = refused(context.enqueue(&stream()));
    assert!(matches!(error, Error::BufferTooSmall { needed: 200, available: 100, .. }), "{error}");
    context.set_memory(buffer(3, 200)).expect("enough");
    context.enqueue(&stream()).expect("runs");
    assert!(context.set_profile(2, &stream()).is_err());
}

#[test]
fn empty_tensors_need_no_bytes_but_a_buffer() {
    let mut context = ready();
    context.set_shape("x", &[0, 3]).expect("a shape");
    context.bind("x", buffer(0x10, 4), 4).expect("bound at the end");
    context.enqueue(&stream()).expect("runs");
    let outside = Error::OutOfBounds { call: "bind", offset: 5, bytes: 0, len: 4 };
    assert_eq!(refused(context.bind("x", buffer(0x10, 4), 5)), outside);
}

#[test]
fn names_are_checked() {
    let mut context = ready();
    let known = vec!["x".to_owned(), "y".to_owned()];
    let unknown = Error::UnknownTensor { side: "input or output", name: "z".into(), known };
    assert_eq!(refused(context.bind("z", buffer(1, 1), 0)), unknown);
    assert_eq!(refused(context.shape("z")), unknown);
    let error = refused(context.set_shape("y", &[2, 5]));
    assert_eq!(error.to_string(), "no input tensor is called y; there are x");
}

#[test]
fn host_tensors_are_refused() {
    fake::add_host_tensor();
    let mut context = ready();
    let host = Error::HostTensor { tensor: "size".into() };
    assert_eq!(refused(context.bind("size", buffer(1, 16), 0)), host);
    assert_eq!(refused(context.enqueue(&stream())), host);
}

#[test]
fn engines_and_contexts_move_between_threads() {
    fn sends<T: Send>(_: &T) {}
    fn shares<T: Sync>(_: &T) {}
    let engine = engine();
    sends(&engine);
    shares(&engine);
    sends(&engine.context().expect("a context"));
}
