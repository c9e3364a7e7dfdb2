//! The `robustseg` command.

fn main() -> std::process::ExitCode {
    robustseg_driver::main()
}
