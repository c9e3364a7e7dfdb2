//! Losses, schedules, optimisers and parts of batches from the command line.

mod common;

use common::{fails, generated, run_in, succeeds};

#[test]
fn a_recipe_trains_and_its_resolved_spec_states_it() {
    let folder = tempfile::tempdir().unwrap();
    generated::write(folder.path(), 4);
    let sets = [
        "training.loss={cross_entropy: {class_weights: inverse_frequency}, lovasz: {weight: 0.5}}",
        "training.schedule={step: {at: [1/2]}}",
        "training.optimiser={sgd: {nesterov: true}}",
        "training.accumulate=2",
        "training.fit_memory=true",
        "training.clip_gradient=1",
        "training.recompute=true",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let output = run_in(folder.path(), &[&["run", "spec.yaml", "--out", "run"][..], &sets].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let resolved = std::fs::read_to_string(folder.path().join("run/spec.yaml")).unwrap();
    for part in
        ["class_weights: inverse_frequency", "weight: 0.5", "nesterov: true", "accumulate: 2", "factor: 0.1"]
    {
        assert!(resolved.contains(part), "{resolved}");
    }
    let again =
        run_in(folder.path(), &[&["run", "spec.yaml", "--out", "run", "--resume"][..], &sets].concat());
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn class_weights_from_the_last_data_check_are_those_of_a_count() {
    let folder = tempfile::tempdir().unwrap();
    generated::write(folder.path(), 4);
    // Generated data are known by their name alone, and the last run of this test checked them too.
    let scenes = generated::scenes().replace("name: scenes", &format!("name: scenes_{}", std::process::id()));
    std::fs::write(folder.path().join("scenes.yaml"), scenes).unwrap();
    let trained = |out: &str, checked: bool| {
        let loss = "training.loss={cross_entropy: {class_weights: inverse_frequency}}";
        succeeds(folder.path(), &["run", "spec.yaml", "--out", out, "--set", loss]);
        let log = std::fs::read_to_string(folder.path().join(out).join("run.log")).unwrap();
        assert_eq!(log.contains("those of the last data check"), checked, "{log}");
        std::fs::read(folder.path().join(out).join("checkpoints/last.safetensors")).unwrap()
    };
    let counted = trained("counted", false);
    succeeds(folder.path(), &["data", "check", "scenes.yaml"]);
    assert!(counted == trained("checked", true));
}

#[test]
fn a_rectangular_crop_is_trained_on_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    generated::write(folder.path(), 2);
    let sets = ["--set", "training.augmentation={crop: [17, 26], jitter: {hue: 0.1}, class_share: 0.6}"];
    let run =
        [&["run", "spec.yaml", "--out", "run", "--set", "training.monitor={every: 1}"][..], &sets].concat();
    succeeds(folder.path(), &run);
    let resolved = std::fs::read_to_string(folder.path().join("run/spec.yaml")).unwrap();
    assert!(resolved.contains("- 17\n    - 26\n"), "{resolved}");
    succeeds(folder.path(), &["check", "run/spec.yaml"]);
    succeeds(folder.path(), &[&["data", "preview", "spec.yaml", "--out", "sheet.png"][..], &sets].concat());
}

#[test]
fn crops_and_windows_that_are_too_small_for_the_network_are_refused_with_the_key() {
    let folder = tempfile::tempdir().unwrap();
    generated::write(folder.path(), 2);
    let segformer = "model={segformer: {reductions: [4, 2, 1, 1]}}";
    let check = ["check", "spec.yaml", "--set", segformer, "--set"];
    let refused = |set: &str, parts: &[&str]| fails(folder.path(), &[&check[..], &[set]].concat(), 2, parts);
    let needs = "the network segformer needs at least 13 x 13";
    refused("training.augmentation.crop=[17, 12]", &["training.augmentation.crop: is 17 x 12", needs]);
    refused(
        "evaluation.window={center_crop: {size: 12}}",
        &["evaluation.window: gives the network 12 x 12", needs],
    );
    succeeds(folder.path(), &[&check[..], &["training.augmentation.crop=[13, 17]"]].concat());
    let larger = "model={segformer: {reductions: [8, 2, 1, 1]}}";
    let larger = ["check", "spec.yaml", "--set", larger, "--set", "training.augmentation.crop=32"];
    fails(folder.path(), &larger, 3, &["split val", "is 20 x 28", "29 x 29"]);
}

#[test]
fn bad_combinations_are_refused_with_the_key_and_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    generated::write(folder.path(), 4);
    for (set, parts) in [
        ("training.accumulate=3", ["training.accumulate", "does not divide the batch_size of 4"]),
        ("training.warm_up_epochs=2", ["training.warm_up_epochs", "the 1 epochs"]),
        ("training.schedule={step: {at: [1]}}", ["training.schedule.step.at", "between 0 and the 1 epochs"]),
        ("training.schedule=cosin", ["training.schedule", "cosine"]),
        ("training.loss=dise", ["training.loss", "dice"]),
        ("training.loss={dice: {smoth: 1}}", ["training.loss.dice", "smooth"]),
        ("training.loss={}", ["training.loss", "names no loss"]),
        (
            "training.loss={cross_entropy: {class_weights: [1, 2]}}",
            ["training.loss.cross_entropy.class_weights", "2 weights, but the network has 3 classes"],
        ),
        ("training.clip_gradient=0", ["training.clip_gradient", "must be above 0"]),
    ] {
        fails(folder.path(), &["check", "spec.yaml", "--set", set], 2, &parts);
    }
    let sora = ["check", "spec.yaml", "--set", "training.method=sora", "--set", "training.loss=dice"];
    fails(folder.path(), &sora, 2, &["training.loss", "the method sora trains by the cross-entropy"]);
    let momentum = ["--set", "training.optimiser={sgd: {nesterov: true}}", "--set", "training.momentum=0"];
    let momentum = [&["check", "spec.yaml"][..], &momentum].concat();
    fails(folder.path(), &momentum, 2, &["training.optimiser.sgd.nesterov", "needs momentum"]);
}
