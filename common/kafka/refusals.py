"""Why a broker does not take a client, in the words of the settings. Clients themselves only try again until their time is
up, and keep the reason to themselves."""

import ssl
from dataclasses import dataclass
from enum import StrEnum

from common.runtime.errors import ConfigurationError
from common.settings import KafkaSettings


class Step(StrEnum):
    """How far a connection came before it ended."""

    CONNECT = "connect"
    """TLS, where it is asked for, and the broker's first word."""
    MECHANISM = "mechanism"
    """The broker was asked for a way to log in."""
    LOGIN = "login"
    """The broker was to take user and password."""
    USE = "use"
    """The first question after all that."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection to `server` that ended at `step`, with what the client and the libraries below it said."""

    server: str
    step: Step
    error: BaseException

    @property
    def tls(self) -> ssl.SSLError | None:
        """What TLS itself said against it. That the other side only hangs up says nothing."""
        error: BaseException | None = self.error
        while error is not None:
            for each in (error, *error.args):
                if isinstance(each, ssl.SSLError) and not isinstance(each, ssl.SSLEOFError):
                    return each
            error = error.__cause__ or error.__context__
        return None

    @property
    def final(self) -> bool:
        """Whether it would end the same way again. A connection that only closes may be that of a broker on its way down."""
        return self.step is Step.MECHANISM or self.tls is not None

    @property
    def answered(self) -> bool:
        """Whether what is there is a Kafka broker, or at least has TLS."""
        return self.step is not Step.CONNECT or self.tls is not None

    def explained(self, settings: KafkaSettings) -> ConfigurationError:
        """One line that names the setting to look at. Never holds a password."""
        setting, problem = self._problem(settings)
        return ConfigurationError(f"setting `kafka.{setting}`: {self.server} {problem}")

    def _problem(self, settings: KafkaSettings) -> tuple[str, str]:
        if self.tls is not None:
            return _about_tls(self.tls, settings)
        match self.step:
            case Step.MECHANISM:
                return "sasl_mechanism", f"does not take {settings.sasl_mechanism}: {self.error}"
            case Step.LOGIN:
                return (
                    "sasl_plain_password",
                    f"refuses user {settings.sasl_plain_username!r} (`kafka.sasl_plain_username`) or the password, by "
                    f"{settings.sasl_mechanism} (`kafka.sasl_mechanism`)",
                )
            case Step.USE:
                return (
                    "security_protocol",
                    f"asks for a login, but the setting is {settings.security_protocol}",
                )
            case Step.CONNECT:
                # Only a listener that answered the other way comes here without a word about TLS.
                answers = "without" if settings.security_protocol in {"SSL", "SASL_SSL"} else "with"
                return "security_protocol", f"answers {answers} TLS, but the setting is {settings.security_protocol}"


_OTHER_HOST = {62, 63, 64}
_OUT_OF_DATE = {9, 10}
"""Results of OpenSSL's verification (x509_vfy.h): another host, e-mail or address; not yet, or no longer valid."""


def _about_tls(error: ssl.SSLError, settings: KafkaSettings) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _about_certificate(error, settings)
    reason = error.reason or str(error)
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:  # alerts that the other side sends
        found = "none was given" if settings.ssl_certfile is None else f"found {settings.ssl_certfile}"
        return "ssl_certfile", f"asks for a client's certificate that it trusts, {found}"
    return (
        "security_protocol",
        f"does not take this TLS (the setting is {settings.security_protocol}): {reason.replace('_', ' ').lower()}",
    )


def _about_certificate(error: ssl.SSLCertVerificationError, settings: KafkaSettings) -> tuple[str, str]:
    if error.verify_code in _OTHER_HOST:
        return (
            "bootstrap_servers",
            f"shows a certificate for another host (`kafka.ssl_check_hostname` asks for this one): {error.verify_message}",
        )
    if error.verify_code in _OUT_OF_DATE:
        return "security_protocol", f"shows a certificate that is out of date, renew it there: {error.verify_message}"
    trusted = "the system's authorities" if settings.ssl_cafile is None else str(settings.ssl_cafile)
    return "ssl_cafile", f"shows a certificate that {trusted} did not sign: {error.verify_message}"
