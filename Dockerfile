FROM python:3.11.13-slim-bookworm

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY common common
COPY workers workers
COPY ops ops
RUN pip install --no-cache-dir '.[s3]' && useradd --create-home imgdiff

USER imgdiff
WORKDIR /home/imgdiff
ENTRYPOINT ["imgdiff"]
