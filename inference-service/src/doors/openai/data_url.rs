//! A picture as a data URL. Nothing is fetched for a caller: an address could name what only this server can reach.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, PAD};

/// Padding may be left out, as many encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Why addresses on the web are refused.
pub(super) const NOT_FETCHED: &str = "nothing is fetched from the web; send the picture itself, as data:image/png;base64,…";

/// The picture's bytes. The error says what the URL must be.
pub(in crate::doors) fn picture_bytes(url: &str) -> Result<Vec<u8>, String> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err("must be a data URL, such as data:image/png;base64,…".to_owned());
    };
    if !scheme.eq_ignore_ascii_case("data") {
        return Err(NOT_FETCHED.to_owned());
    }
    let media_type_and_data = rest.split_once(',').and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data)));
    let Some((media_type, data)) = media_type_and_data else {
        return Err("must be a data URL in base64, such as data:image/png;base64,…".to_owned());
    };
    // Without a type, as Ollama takes it too. Which format it is, the picture itself says.
    let names_a_picture = media_type.is_empty() || media_type.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("image/"));
    if !names_a_picture {
        return Err("must be a picture, such as data:image/png;base64,…".to_owned());
    }
    BASE64.decode(data).map_err(|_| "is not base64 behind its comma".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_are_taken_with_and_without_a_type_and_padding() {
        for url in ["data:image/png;base64,AQI=", "data:;base64,AQI=", "DATA:image/jpeg;base64,AQI", "data:image/webp;x=y;base64,AQI="] {
            assert_eq!(picture_bytes(url).as_deref(), Ok(&[1, 2][..]), "{url}");
        }
    }

    #[test]
    fn what_is_no_data_url_of_a_picture_is_refused_with_what_it_must_be() {
        for url in ["http://example.com/a.png", "https://example.com/a.png", "file:///etc/passwd", "HTTP://x", "gopher://x"] {
            assert!(picture_bytes(url).unwrap_err().contains("nothing is fetched"), "{url}");
        }
        for (url, said) in [
            ("AQI=", "must be a data URL"),
            ("data:image/png,AQI=", "in base64"),
            ("data:image/png;base64", "in base64"),
            ("data:audio/wav;base64,AQI=", "must be a picture"),
            ("data:image/png;base64,@@", "is not base64"),
        ] {
            assert!(picture_bytes(url).unwrap_err().contains(said), "{url}");
        }
    }
}
