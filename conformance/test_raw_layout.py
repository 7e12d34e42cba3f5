"""The sizes that a C library's macros tell are those that its kernel reads and writes."""

from fdspec.conformance.suite import MUST, RAW, case


@case("raw-layout.sizes-of-the-platform", level=MUST, checks="A23 T01b", profiles=[RAW])
def test_the_sizes_are_those_of_the_platform(link, objects):
    """CMSG_SPACE of one int is a header and a word; two messages laid out by it are both read, and what comes is as long."""
    layout, things = link.layout, objects.files(2)
    first, second = link.open(*things)
    assert layout.length(0) == layout.aligned(layout.word + 2 * layout.int_size)
    assert layout.align == layout.word  # Linux; what one int leaves of a word is padding, and so room for another one
    assert layout.space(4) - layout.header == layout.word
    link.a.sendmsg(b"x", control=layout.rights([first]) + layout.rights([second]))
    got = link.b.recvmsg(control=4 * layout.space(4))
    assert got.things == things
    assert got.control_length == sum(layout.space(len(one.data)) for one in got.cmsgs)
