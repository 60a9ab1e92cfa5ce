import io

from hypothesis import given
from hypothesis import strategies as st

from pipeline.frames import read_frame, write_frame

FRAMES = st.lists(st.tuples(st.dictionaries(st.sampled_from("abc"), st.integers() | st.text()), st.binary()), max_size=4)


@given(frames=FRAMES, keep=st.floats(0, 1))
def test_whole_frames_come_back_and_a_torn_one_is_the_end(frames: list[tuple[dict[str, object], bytes]], keep: float) -> None:
    pipe, ends = io.BytesIO(), [0]
    for line, content in frames:
        write_frame(pipe, line, content)
        ends.append(pipe.tell())
    length = int(keep * ends[-1])
    torn = io.BytesIO(pipe.getvalue()[:length])
    whole = sum(end <= length for end in ends[1:])
    assert [read_frame(torn) for _ in range(whole)] == frames[:whole]
    assert read_frame(torn) is None
