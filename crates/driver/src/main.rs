//! The `robustseg` command.

fn main() -> std::process::ExitCode {
    robustseg_ops::keep_freed_memory();
    robustseg_driver::main()
}
