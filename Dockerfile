# syntax=docker/dockerfile:1
# Two images: `gateway` (gateway, sync and the command line, with OPA) and `demo` (the issuer and servers of the demo).

FROM python:3.11-slim-bookworm AS python
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src

# What the product needs, traces included, and nothing else.
FROM python AS libraries
COPY requirements-otel.txt .
RUN python -m venv /opt/portcullis && /opt/portcullis/bin/pip install --require-hashes -r requirements-otel.txt

# What builds the wheel; the demo's servers need the MCP SDK from here, too.
FROM python AS tools
COPY requirements-dev.txt .
RUN python -m venv /opt/tools && /opt/tools/bin/pip install --require-hashes -r requirements-dev.txt

FROM tools AS wheel
COPY pyproject.toml README.md CHANGELOG.md ./
COPY gateway gateway
COPY bundles bundles
COPY policies policies
RUN /opt/tools/bin/python -m build --wheel --no-isolation --outdir /dist

FROM libraries AS installed
COPY --from=wheel /dist /dist
RUN /opt/portcullis/bin/pip install --no-deps --no-index /dist/*.whl

# OPA at the pinned version: its official release, checked against its published SHA-256.
FROM installed AS engine
RUN XDG_CACHE_HOME=/cache /opt/portcullis/bin/portcullis opa install && install -m 0755 /cache/portcullis/opa/*/opa /opa

FROM python:3.11-slim-bookworm AS base
# OPA's container runs as the same user: the socket between the two is theirs alone. The folders are owned by it, so
# that empty volumes mounted there are.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/portcullis portcullis \
    && install -d -o portcullis -g portcullis -m 0700 /var/lib/portcullis /var/lib/opa /var/lib/shared /run/portcullis
ENV PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/portcullis

FROM base AS demo
COPY --from=tools /opt/tools /opt/tools
COPY examples/front-door /demo
ENTRYPOINT ["/opt/tools/bin/python"]

FROM base AS gateway
COPY --from=engine /opa /usr/local/bin/opa
COPY --from=installed /opt/portcullis /opt/portcullis
ENV PATH=/opt/portcullis/bin:$PATH PORTCULLIS_STATE_DIR=/var/lib/portcullis
EXPOSE 8000
ENTRYPOINT ["portcullis"]
CMD ["up", "--config", "/etc/portcullis/config.yaml", "--host", "0.0.0.0"]
