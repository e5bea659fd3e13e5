# One image for all Python services of Claire; the compose service picks its command.
# Two stages: wheels are unpacked into a virtual environment here, the image that runs has no pip of it and no compiler.

FROM python:3.11-slim-bookworm AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/claire
COPY requirements.txt /build/requirements.txt
RUN pip --python /opt/claire/bin/python install --only-binary :all: --requirement /build/requirements.txt
RUN printf '#!/opt/claire/bin/python\nfrom claire.cli import main\n\nif __name__ == "__main__":\n    raise SystemExit(main())\n' \
      > /opt/claire/bin/claire && chmod 755 /opt/claire/bin/claire


FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Claire de Binare" \
      org.opencontainers.image.description="Services and tools of the Claire de Binare trading pipeline" \
      org.opencontainers.image.licenses="MIT"

# Folders that volumes are mounted on belong to the user from the start: a new volume takes over their owner.
RUN groupadd --gid 10001 claire \
 && useradd --uid 10001 --gid claire --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin claire \
 && install -d -o claire -g claire -m 0750 /var/lib/claire /backups \
 && install -d -o claire -g claire -m 0755 /run/claire/redis /run/claire/grafana /run/claire/page \
      /run/claire/postgres /run/claire/postgres_writer /run/claire/postgres_server

COPY --from=builder /opt/claire /opt/claire
WORKDIR /app
COPY services ./services
COPY claire ./claire
COPY backoffice/data ./backoffice/data
COPY backoffice/docker/make_secrets.py ./backoffice/docker/make_secrets.py

ENV PATH=/opt/claire/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATE_DIR=/var/lib/claire
RUN python -m compileall -q /app/services /app/claire

USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 \
  CMD ["python", "-I", "-S", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['HTTP_PORT']), timeout=3); c.request('GET', '/health'); r = c.getresponse(); sys.stdout.write(r.read(2000).decode()); sys.exit(r.status != 200)"]
CMD ["claire", "--help"]
