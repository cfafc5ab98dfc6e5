"""A process that decodes one video and can do nothing else: run by `decode_video`, with this file alone.

Reads the file from stdin; writes its frames as RGB bytes to stdout, and {"width", "height"} or {"error"} as JSON to stderr.
Memory, time and output are limited by the system before anything is read; when the file has been, no other file and no
connection can be opened any more, whatever the video names.
"""

import io
import json
import resource
import sys

MEMORY_BYTES = 3 << 29  # of addresses
CPU_S = 60


def main(demuxer: str, max_frames: int, max_pixels: int, max_bytes: int) -> None:
    """Decode stdin to stdout."""
    for limit, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, max_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    import av
    import av.subtitles.stream  # PyAV would import it later, when nothing can be opened any more
    import numpy as np

    av.logging.set_level(av.logging.PANIC)
    file = io.BytesIO(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    size = None
    try:
        with av.open(file, "r", format=demuxer) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            check_pixels(stream.codec_context.width, stream.codec_context.height, max_pixels)
            for number, frame in enumerate(container.decode(stream)):
                if number >= max_frames:
                    raise ValueError(f"more than {max_frames} frames")
                check_pixels(frame.width, frame.height, max_pixels)
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                if size is None:
                    size = pixels.shape[1::-1]
                elif size != pixels.shape[1::-1]:
                    raise ValueError("frames of several sizes")
                if (number + 1) * pixels.nbytes > max_bytes:
                    raise ValueError(f"frames of more than {max_bytes} bytes")
                sys.stdout.buffer.write(pixels.tobytes())
        if size is None:
            raise ValueError("no frames")
        sys.stdout.buffer.flush()
        said = {"width": size[0], "height": size[1]}
    except ValueError as error:
        said = {"error": str(error) if type(error) is ValueError else "it cannot be decoded"}
    except (av.FFmpegError, IndexError, MemoryError, OSError, OverflowError):
        said = {"error": "it cannot be decoded"}
    sys.stderr.write(json.dumps(said))


def check_pixels(width: int, height: int, most: int) -> None:
    """Refuse a size."""
    if width * height > most:
        raise ValueError(f"{width}x{height} is more than {most} pixels")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
