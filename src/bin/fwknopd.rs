fn main() -> std::process::ExitCode {
    fwknop::daemon::main()
}
