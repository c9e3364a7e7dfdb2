//! Settings and draws.

use super::*;
use crate::image::IGNORE_LABEL;

#[test]
fn draws_are_a_function_of_seed_epoch_and_index_within_the_settings() {
    let config = AugmentationConfig::default();
    let mut flips = 0;
    for index in 0..500 {
        let drawn = config.draw(3, 1, index);
        assert_eq!(drawn, config.draw(3, 1, index));
        assert!((0.5..=2.0).contains(&drawn.scale) && (-10.0..=10.0).contains(&drawn.rotation));
        assert!((0.0..1.5).contains(&drawn.sigma) && drawn.place.iter().all(|p| (0.0..1.0).contains(p)));
        flips += usize::from(drawn.flip);
    }
    assert!((200..300).contains(&flips), "{flips}");
    for other in [config.draw(4, 1, 0), config.draw(3, 2, 0), config.draw(3, 1, 1)] {
        assert_ne!(other, config.draw(3, 1, 0));
    }
}

#[test]
fn semseg_rotates_and_blurs_half_of_the_samples_and_always_blurs_alike() {
    let config = AugmentationConfig::semseg();
    let drawn: Vec<_> = (0..1000).map(|index| config.draw(3, 1, index)).collect();
    let share = |is: fn(&AugmentationParameters) -> bool| drawn.iter().filter(|drawn| is(drawn)).count();
    assert!((440..560).contains(&share(|drawn| drawn.rotation != 0.0)));
    assert!((440..560).contains(&share(|drawn| drawn.sigma > 0.0)));
    assert!(
        (200..300).contains(&share(|drawn| drawn.sigma > 0.0 && drawn.rotation != 0.0)),
        "each by itself"
    );
    assert!(drawn.iter().all(|drawn| [0.0, 1.1].contains(&drawn.sigma) && drawn.reach == Some(2)));
    assert!(drawn.iter().any(|drawn| drawn.rotation.abs() > 9.0));
}

#[test]
fn a_preset_is_named_alone_or_with_settings_of_its_own() {
    let read = |text: &str| serde_yaml::from_str::<AugmentationConfig>(text);
    let semseg = AugmentationConfig::semseg();
    assert_eq!(read("semseg").unwrap(), semseg);
    let smaller = AugmentationConfig { crop: 64.into(), ..semseg.clone() };
    assert_eq!(read("{preset: semseg, crop: 64}").unwrap(), smaller);
    let wide = AugmentationConfig { crop: [64, 96].into(), ..semseg.clone() };
    assert_eq!(read("{preset: semseg, crop: [64, 96]}").unwrap(), wide);
    assert_eq!(read("{}").unwrap(), AugmentationConfig::default());
    let flat = AugmentationConfig { rotation: 0.0, blur: false, ..AugmentationConfig::default() };
    assert_eq!(read("{rotation: 0, blur: false}").unwrap(), flat);
    assert_eq!(read("mmsegmentation").unwrap(), AugmentationConfig::mmsegmentation());
    for config in [semseg, wide, flat, AugmentationConfig::mmsegmentation()] {
        let written = serde_yaml::to_string(&config).unwrap();
        assert_eq!(read(&written).unwrap(), config, "what is written is read as the same: {written}");
    }
    let refusal = |text: &str| read(text).unwrap_err().to_string();
    assert!(refusal("pspnet").contains("semseg"), "{}", refusal("pspnet"));
    assert!(refusal("{blurr: true}").contains("blurr"), "{}", refusal("{blurr: true}"));
    assert!(refusal("3").contains("a map of settings, or `semseg`"), "{}", refusal("3"));
}

#[test]
fn each_part_can_be_switched_off_and_leaves_the_others_alone() {
    let full = AugmentationConfig::default();
    let off = AugmentationConfig {
        flip: false,
        scale: [1.0; 2],
        rotation: 0.0,
        blur: false,
        crop: 32.into(),
        ..AugmentationConfig::default()
    };
    for index in 0..50 {
        let place = full.draw(0, 0, index).place;
        let expected = AugmentationParameters { place, ..AugmentationParameters::identity(32) };
        assert_eq!(off.draw(0, 0, index), expected);
    }
}

#[test]
fn a_crop_of_one_class_is_drawn_again_until_the_share_is_kept() {
    let config = AugmentationConfig { class_share: Some(0.75), ..AugmentationConfig::default() };
    let labels = |shares: &[(u8, usize)]| {
        let label = shares.iter().flat_map(|(label, count)| vec![*label; *count]).collect();
        Ok::<_, Error>(Crop { image: Vec::new(), label })
    };
    // The fourth draw keeps the share.
    let mut places = Vec::new();
    let (drawn, crop) = config
        .crop_with([1, 2, 3], |parameters| {
            places.push(parameters.place);
            match places.len() {
                1 => labels(&[(0, 100)]),
                2 => labels(&[(0, 76), (1, 24)]),
                3 => labels(&[(0, 80), (1, 20), (IGNORE_LABEL, 900)]),
                _ => labels(&[(0, 75), (1, 25), (IGNORE_LABEL, 5)]),
            }
        })
        .unwrap();
    assert_eq!((places.len(), drawn.place, crop.label.len()), (4, places[3], 105));
    assert_eq!(AugmentationParameters { place: places[0], ..drawn }, config.draw(1, 2, 3));
    for (index, place) in places.iter().enumerate() {
        assert!(!places[..index].contains(place));
    }
    // It ends, and without the setting there is one draw.
    for (share, expected) in [(Some(0.75), 10), (None, 1)] {
        let mut count = 0;
        let config = AugmentationConfig { class_share: share, ..config.clone() };
        config
            .crop_with([1, 2, 3], |_| {
                count += 1;
                labels(&[(IGNORE_LABEL, 9)])
            })
            .unwrap();
        assert_eq!(count, expected);
    }
}

#[test]
fn new_settings_change_no_other_draw() {
    let plain = AugmentationConfig::default();
    let with = AugmentationConfig { jitter: AugmentationConfig::mmsegmentation().jitter, ..plain.clone() };
    for index in 0..20 {
        let drawn = with.draw(1, 2, index);
        assert!(drawn.jitter.is_some());
        assert_eq!(AugmentationParameters { jitter: None, ..drawn }, plain.draw(1, 2, index));
    }
}

#[test]
fn each_setting_out_of_range_is_named() {
    let good = AugmentationConfig::default;
    assert!(good().validate().is_ok());
    for (key, bad) in [
        ("scale", AugmentationConfig { scale: [2.0, 0.5], ..good() }),
        ("scale", AugmentationConfig { scale: [0.0, 0.5], ..good() }),
        ("scale", AugmentationConfig { scale: [f64::NAN, 0.5], ..good() }),
        ("scale", AugmentationConfig { scale: [0.5, f64::INFINITY], ..good() }),
        ("rotation", AugmentationConfig { rotation: -1.0, ..good() }),
        ("rotation", AugmentationConfig { rotation: f64::NAN, ..good() }),
        ("rotation_probability", AugmentationConfig { rotation_probability: 1.1, ..good() }),
        ("blur_sigma", AugmentationConfig { blur_sigma: [1.0, 0.5], ..good() }),
        ("blur_sigma", AugmentationConfig { blur_sigma: [0.0, f64::NAN], ..good() }),
        ("blur_kernel", AugmentationConfig { blur_kernel: Some(4), ..good() }),
        ("blur_kernel", AugmentationConfig { blur_kernel: Some(1), ..good() }),
        ("class_share", AugmentationConfig { class_share: Some(0.0), ..good() }),
        ("class_share", AugmentationConfig { class_share: Some(f64::NAN), ..good() }),
        (
            "jitter",
            AugmentationConfig {
                jitter: Some(JitterConfig { hue: 2.0, ..JitterConfig::default() }),
                ..good()
            },
        ),
        ("crop", AugmentationConfig { crop: 0.into(), ..good() }),
        ("crop", AugmentationConfig { crop: [64, 7].into(), ..good() }),
    ] {
        let message = bad.validate().unwrap_err().to_string();
        assert!(message.starts_with(&format!("{key}: ")), "{message}");
    }
}
