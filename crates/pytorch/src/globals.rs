//! Functions and classes that pickles name.

/// Modules whose functions run programs, touch files or reach the network. Weights need none of
/// them. Nothing is ever called here, so the list protects no one who uses this crate; it spares
/// users to load the file with PyTorch later.
const HOSTILE_MODULES: [&str; 37] = [
    "asyncio",
    "bdb",
    "cProfile",
    "cffi",
    "code",
    "codeop",
    "commands",
    "ctypes",
    "dill",
    "distutils",
    "ftplib",
    "http",
    "httplib",
    "importlib",
    "joblib",
    "marshal",
    "multiprocessing",
    "nt",
    "operator",
    "os",
    "pdb",
    "pickle",
    "pip",
    "posix",
    "profile",
    "pty",
    "requests",
    "runpy",
    "shutil",
    "smtplib",
    "socket",
    "subprocess",
    "sys",
    "timeit",
    "types",
    "urllib",
    "webbrowser",
];

/// Built-in classes, whose values are plain. All other built-in names are functions that hostile
/// pickles call.
const HARMLESS: [&str; 17] = [
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "long",
    "object",
    "range",
    "set",
    "slice",
    "str",
    "tuple",
    "unicode",
];

/// Whether the global `module.name` has no place in a file of weights.
pub(crate) fn is_hostile(module: &str, name: &str) -> bool {
    let package = module.split('.').next().unwrap_or(module);
    match package {
        "builtins" | "__builtin__" | "__builtins__" => !HARMLESS.contains(&name),
        "torch" => {
            ["torch.hub", "torch.serialization", "torch.jit", "torch.utils.cpp_extension"].contains(&module)
        }
        "numpy" => module.starts_with("numpy.testing") || module.starts_with("numpy.f2py"),
        _ => HOSTILE_MODULES.contains(&package) || package.starts_with("_pickle") || package == "cPickle",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_programs_is_hostile_and_what_checkpoints_hold_is_not() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("os.path", "join"),
            ("builtins", "eval"),
            ("__builtin__", "getattr"),
            ("subprocess", "Popen"),
            ("torch.hub", "load"),
            ("numpy.testing._private.utils", "runstring"),
        ] {
            assert!(is_hostile(module, name), "{module}.{name}");
        }
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch", "FloatStorage"),
            ("numpy.core.multiarray", "scalar"),
            ("argparse", "Namespace"),
            ("builtins", "set"),
            ("model.pspnet", "PSPNet"),
        ] {
            assert!(!is_hostile(module, name), "{module}.{name}");
        }
    }
}
