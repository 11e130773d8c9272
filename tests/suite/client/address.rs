//! Finding out the own address: web services on the loopback device of a namespace, and the original beside us.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::sending::inside;
use super::{Home, PROGRAM, Run, run};
use crate::support::peers::Maker;
use crate::support::{PATIENCE, package_of, within};

const ASK: [&str; 8] = ["--no-rc-file", "-T", "--no-save-args", "-A", "tcp/22", "--key-rijndael", "key", "-R"];
const PLAIN: [&str; 2] = ["--resolve-http-only", "--resolve-url"];

/// Answers one request with these bytes, and gives back what it was asked.
fn serve(address: &str, answer: impl Into<Vec<u8>>) -> std::thread::JoinHandle<String> {
    let (listener, answer) = (TcpListener::bind(address).unwrap(), answer.into());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut asked, mut byte) = (Vec::new(), [0]);
        while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
            asked.push(byte[0]);
        }
        // Whoever has read enough may hang up.
        let _ = stream.write_all(&answer);
        String::from_utf8(asked).unwrap()
    })
}

fn page(body: &str) -> String {
    format!("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{body}")
}

fn ask(home: &Home, more: &[&str]) -> Run {
    home.run(&[&ASK[..], more].concat())
}

#[track_caller]
fn lets_in(run: &Run, address: &str) {
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.contains(&format!(" Message String: {address},tcp/22\n")), "{}", run.out);
}

#[track_caller]
fn refused(run: &Run, complaint: &str) {
    assert_eq!(run.code, Some(1), "{}", run.out);
    assert!(run.err.contains(complaint) && run.err.contains("packet not sent"), "{}", run.err);
    assert!(!run.out.contains("Final SPA Data"), "{}", run.out);
}

#[test]
fn plain_http_gives_both_programs_the_same_address() {
    inside("address::plain_http_gives_both_programs_the_same_address", || {
        let home = Home::new();
        let args = [&ASK[..], &PLAIN, &["http://both.test:8080/ip"]].concat();
        for program in [Maker::Ours, Maker::Original] {
            let server = serve("127.0.0.1:8080", page("198.51.100.7\n"));
            lets_in(&run(home.command(program.client()).args(&args), ""), "198.51.100.7");
            let asked = server.join().unwrap();
            assert!(asked.starts_with("GET /ip HTTP/1."), "{asked}");
            assert!(asked.to_lowercase().contains("\r\nuser-agent: fwknop/"), "{asked}");
        }
        let server = serve("127.0.0.1:8080", page("198.51.100.7"));
        let answer = ask(&home, &[&PLAIN[..], &["both.test:8080/ip", "-u", "Me/1"]].concat());
        lets_in(&answer, "198.51.100.7");
        assert!(answer.err.contains("warning: our address is asked for without encryption"), "{}", answer.err);
        assert!(server.join().unwrap().to_lowercase().contains("\r\nuser-agent: me/1\r\n"));
    });
}

#[test]
fn the_rc_file_says_it_as_well() {
    inside("address::the_rc_file_says_it_as_well", || {
        let url = "RESOLVE_URL http://127.0.0.1:8080/\nACCESS tcp/22\nKEY k\n";
        for how in ["ALLOW_IP resolve", "RESOLVE_IP_HTTP Y", "RESOLVE_IP_HTTPS Y\nRESOLVE_HTTP_ONLY Y"] {
            let home = Home::with_rc(&format!("[default]\n[office]\n{how}\n{url}"));
            let server = serve("127.0.0.1:8080", page("198.51.100.7\n"));
            lets_in(&home.run(&["-T", "-n", "office"]), "198.51.100.7");
            server.join().unwrap();
        }
    });
}

#[test]
fn only_one_address_is_an_answer() {
    inside("address::only_one_address_is_an_answer", || {
        let home = Home::new();
        let url = [&PLAIN[..], &["http://127.0.0.1:8080/"]].concat();
        for (answer, complaint) in [
            (page("198.51.100.7 and more"), "is not an address: '198.51.100.7 and more'"),
            (page("<html>198.51.100.7</html>"), "is not an address: '<html>"),
            (page(""), "is not an address: ''"),
            (page("0.0.0.0"), "sees us at 0.0.0.0, where the server cannot meet us"),
            (page(&"1".repeat(5000)), "cannot be asked for our address"),
            ("HTTP/1.0 503 Busy\r\n\r\n198.51.100.7".to_owned(), "503"),
            ("198.51.100.7".to_owned(), "cannot be asked for our address"),
        ] {
            let server = serve("127.0.0.1:8080", answer);
            refused(&ask(&home, &url), complaint);
            server.join().unwrap();
        }
        refused(&ask(&home, &url), "Connection refused");
        let https = ask(&home, &[&PLAIN[..], &["https://127.0.0.1/"]].concat());
        assert!(
            https.err.contains("an https address cannot be asked over plain HTTP\n     leave out"),
            "{}",
            https.err
        );
    });
}

#[test]
fn a_service_that_says_nothing_is_not_waited_for() {
    inside("address::a_service_that_says_nothing_is_not_waited_for", || {
        let _silent = TcpListener::bind("127.0.0.1:8080").unwrap();
        let begun = Instant::now();
        let home = Home::new();
        refused(&ask(&home, &[&PLAIN[..], &["http://127.0.0.1:8080/"]].concat()), "timeout");
        let sleeper = home.0.script("sleeper", "exec sleep 60");
        refused(&ask(&home, &["-w", sleeper.to_str().unwrap()]), "sleeper took longer than 10 seconds");
        assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    });
}

#[test]
fn the_kind_of_address_is_the_servers() {
    inside("address::the_kind_of_address_is_the_servers", || {
        let home = Home::new();
        // The service is there over both; the server over one or both.
        for (server, listen, answer, good) in [
            ("both.test", "127.0.0.1:8080", "198.51.100.7", true),
            ("192.0.2.1", "127.0.0.1:8080", "198.51.100.7", true),
            ("six.test", "[::1]:8080", "2001:db8::7", true),
            ("2001:db8::1", "[::1]:8080", "2001:db8::7", true),
            ("192.0.2.1", "127.0.0.1:8080", "2001:db8::7", false),
            ("six.test", "[::1]:8080", "198.51.100.7", false),
        ] {
            let service = serve(listen, page(answer));
            let run = ask(&home, &[&PLAIN[..], &["http://both.test:8080/", "-D", server]].concat());
            service.join().unwrap();
            match good {
                true => lets_in(&run, answer),
                false => refused(&run, "where the server cannot meet us"),
            }
        }
    });
}

#[test]
fn a_wget_is_run_as_the_original_runs_it() {
    inside("address::a_wget_is_run_as_the_original_runs_it", || {
        let home = Home::new();
        let words = home.0.join("words");
        let wget = home.0.script("wget", &format!("printf '%s|' \"$@\" > {}; echo 198.51.100.7", words.display()));
        let mut seen = Vec::new();
        for program in [Maker::Ours, Maker::Original] {
            for more in [&["-u", "Me/1"][..], &["-u", "Me/1", "--use-wget-user-agent"]] {
                let args =
                    [&ASK[..], &["-w", wget.to_str().unwrap(), "--resolve-url", "https://x.test/ip"], more].concat();
                lets_in(&run(home.command(program.client()).args(args), ""), "198.51.100.7");
                seen.push(std::fs::read_to_string(&words).unwrap());
            }
        }
        assert_eq!(seen[0], "-U|Me/1|--secure-protocol=auto|--quiet|-O|-|https://x.test/ip|");
        assert_eq!(seen[..2], seen[2..], "ours, and the original's");
        for (body, complaint) in [
            ("exit 4", "failed (exit status: 4)"),
            ("yes 198.51.100.7", "says more than an address"),
            ("echo 198.51.100.7 1", "is not an address"),
        ] {
            let wget = home.0.script("wget", body);
            refused(&ask(&home, &["-w", wget.to_str().unwrap()]), complaint);
        }
        refused(&ask(&home, &["-w", "/nosuch/wget"]), "/nosuch/wget cannot be run");
        let server = serve("127.0.0.1:8080", page("198.51.100.7\n"));
        lets_in(&ask(&home, &["-w", "wget", "--resolve-url", "http://127.0.0.1:8080/ip"]), "198.51.100.7");
        server.join().unwrap();
        let nobody = ask(&home, &["--use-wget-user-agent", "--resolve-url", "http://127.0.0.1:1/"]);
        assert!(
            nobody.err.contains("no wget is asked to name itself\n     name one with --wget-cmd"),
            "{}",
            nobody.err
        );
    });
}

#[test]
fn https_shows_a_certificate_that_is_trusted() {
    inside("address::https_shows_a_certificate_that_is_trusted", || {
        let home = Home::new();
        let _server = tls_server(&home);
        let service = ["--resolve-url", "https://both.test:8443/answer"];
        let authority = home.0.join("ca.pem");
        let asking = |service: &[&str], trusted: &str| {
            run(home.command(PROGRAM).args(ASK).args(service).env("SSL_CERT_FILE", trusted), "")
        };
        lets_in(&asking(&service, authority.to_str().unwrap()), "198.51.100.7");
        refused(&ask(&home, &service), "certificate");
        let wrong_name = ["--resolve-url", "https://127.0.0.1:8443/answer"];
        refused(&asking(&wrong_name, authority.to_str().unwrap()), "certificate");
        let downgraded = ["--resolve-url", "https://both.test:8443/elsewhere"];
        refused(&asking(&downgraded, authority.to_str().unwrap()), "cannot be asked for our address");
    });
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves the files `answer` and `elsewhere` of this home over TLS, with a certificate of an authority in `ca.pem`.
fn tls_server(home: &Home) -> Server {
    home.0.write("answer", &page("198.51.100.7\n"));
    home.0.write("elsewhere", "HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:8080/\r\n\r\n");
    let openssl = |line: &str| {
        let output = home.command("openssl").args(line.split(' ')).output();
        let output = output.unwrap_or_else(|e| panic!("openssl ({e}): install the package {}", package_of("openssl")));
        assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {KEY} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"));
    openssl(&format!("req {KEY} -keyout srv.key -out srv.csr -subj /CN=both.test"));
    home.0.write("srv.ext", "subjectAltName=DNS:both.test\nbasicConstraints=CA:FALSE\n");
    openssl("x509 -req -in srv.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out srv.pem -days 2 -extfile srv.ext");
    let serve = "s_server -quiet -HTTP -accept 127.0.0.1:8443 -cert srv.pem -key srv.key";
    let mut command: Command = home.command("openssl");
    let child = command.args(serve.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server(child.unwrap());
    assert!(
        within(PATIENCE, || std::net::TcpStream::connect("127.0.0.1:8443").is_ok()),
        "openssl s_server does not start"
    );
    server
}
