fn main() -> std::process::ExitCode {
    fwknop::client::main()
}
