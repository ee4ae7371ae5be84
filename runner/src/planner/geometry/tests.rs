use super::*;

const CLIP: VideoInfo = VideoInfo { width: 848, height: 480, fps: 16.0, frames: 81 };

fn request(num_frames: usize, height: u32, width: u32) -> TargetRequest<'static> {
    TargetRequest { num_frames, height, width, fps: 16, max_image_size: 848, video: None }
}

fn grid(t: usize, h: usize, w: usize) -> Grid {
    Grid { t, h, w }
}

#[test]
fn a_target_from_nothing_has_the_size_asked_for() {
    let found = TargetGeometry::new(&request(81, 480, 848)).unwrap();
    assert_eq!(found.visual, Visual { kind: VisualKind::Video, grid: grid(5, 6, 10) });
    assert_eq!((found.frames, found.width, found.height), (81, 848, 480));
    assert_eq!((found.placeholder, found.latent()), (grid(21, 30, 53), grid(21, 30, 53)));
}

#[test]
fn a_still_is_an_image_even_beside_a_video() {
    let mut still = request(1, 512, 512);
    still.video = Some(&CLIP);
    let found = TargetGeometry::new(&still).unwrap();
    assert_eq!(found.visual, Visual { kind: VisualKind::Image, grid: grid(1, 8, 8) });
    assert_eq!((found.frames, found.latent()), (1, grid(1, 32, 32)));
    still.height = 0;
    assert_eq!(TargetGeometry::new(&still), Err(GeometryError::NoSize { field: "height" }));
}

#[test]
fn a_video_sets_what_is_left_open() {
    let follow = TargetRequest { video: Some(&CLIP), ..request(81, 0, 0) };
    let found = TargetGeometry::new(&follow).unwrap();
    assert_eq!((found.width, found.height, found.latent()), (848, 480, grid(21, 30, 53)));
    let other = TargetRequest { height: 250, width: 400, ..follow };
    let other = TargetGeometry::new(&other).unwrap();
    assert_eq!(other.visual, found.visual, "the planner follows the video");
    assert_eq!(other.placeholder, found.placeholder);
    assert_eq!((other.width, other.height), (400, 256), "the noise follows the flags");
}

/// 3 s at 30 fps: 49 frames for the VAE, 6 for the vision tower; 20 s: cut for the VAE only.
#[test]
fn clips_set_the_length() {
    let short = VideoInfo { width: 640, height: 360, fps: 30.0, frames: 90 };
    let found =
        TargetGeometry::new(&TargetRequest { video: Some(&short), ..request(81, 0, 0) }).unwrap();
    assert_eq!((found.placeholder.t, found.frames, found.visual.grid.t), (13, 49, 3));
    assert_eq!(vit_frames(&short, 16, 81), [0, 18, 36, 53, 71, 89]);
    let long = VideoInfo { frames: 600, ..short };
    let found =
        TargetGeometry::new(&TargetRequest { video: Some(&long), ..request(81, 0, 0) }).unwrap();
    assert_eq!((found.placeholder.t, found.frames, found.visual.grid.t), (21, 81, 20));
}

#[test]
fn frame_counts_become_four_n_plus_one() {
    for (asked, frames, latent, vit) in
        [(2, 1, 1, 1), (5, 5, 2, 1), (80, 81, 21, 5), (82, 81, 21, 5), (121, 121, 31, 7)]
    {
        let found = TargetGeometry::new(&request(asked, 240, 320)).unwrap();
        assert_eq!((found.frames, found.placeholder.t, found.visual.grid.t), (frames, latent, vit));
    }
}

#[test]
fn a_placeholder_obeys_the_vae_rule_and_the_noise_does_not() {
    let found = TargetGeometry::new(&request(1, 1080, 1920)).unwrap();
    assert_eq!(found.placeholder, grid(1, 30, 53));
    assert_eq!(found.latent(), grid(1, 68, 120));
    assert_eq!(found.visual.grid, vit_grid(1920, 1080, 1).unwrap());
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let no_width = TargetGeometry::new(&request(81, 480, 0));
    assert_eq!(no_width, Err(GeometryError::NoSize { field: "width" }));
    let sliver = TargetGeometry::new(&request(1, 16, 4096)).unwrap_err();
    assert!(matches!(sliver, GeometryError::Vit(VitError::Aspect { .. })));
}
