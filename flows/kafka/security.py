"""TLS and SASL: files from the configuration, user and password from the environment only."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any

from state.errors import ConfigurationError

if TYPE_CHECKING:
    from state.config_deployment import Kafka

USERNAME_VARIABLE, PASSWORD_VARIABLE = "PENSTOCK_KAFKA_USERNAME", "PENSTOCK_KAFKA_PASSWORD"


def security_arguments(kafka: Kafka) -> dict[str, Any]:
    """The security arguments of a client. Raises UserError for a missing user or an invalid file."""
    arguments: dict[str, Any] = {"security_protocol": kafka.security.upper()}
    if kafka.security.endswith("ssl"):
        arguments["ssl_context"] = _tls_context(kafka)
    if kafka.security.startswith("sasl"):
        missing = [
            name for name in (USERNAME_VARIABLE, PASSWORD_VARIABLE) if not os.environ.get(name)
        ]
        if missing:
            raise ConfigurationError(
                f"kafka.security {kafka.security} needs {' and '.join(missing)} in the environment"
            )
        arguments["sasl_mechanism"] = kafka.sasl_mechanism
        arguments["sasl_plain_username"] = os.environ[USERNAME_VARIABLE]
        arguments["sasl_plain_password"] = os.environ[PASSWORD_VARIABLE]
    return arguments


def _tls_context(kafka: Kafka) -> ssl.SSLContext:
    setting = "kafka.ca_file"
    try:
        context = ssl.create_default_context(cafile=kafka.ca_file or None)
        if kafka.certificate_file:
            setting = "kafka.certificate_file, kafka.key_file"
            context.load_cert_chain(kafka.certificate_file, kafka.key_file or None)
    except OSError as error:  # ssl.SSLError is one too
        raise ConfigurationError(f"{setting}: {error.strerror or error}: name PEM files") from error
    return context
