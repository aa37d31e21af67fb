/* Input source of a board that has no sensor: the picture of vp/pattern.h, a row at a time. */
#include "vp/board.h"
#include "vp/pattern.h"

int vp_board_source_start(void)
{
    return 0;
}

int vp_board_capture_begin(vp_capture *capture)
{
    (void)capture; /* In the shape of the fleet's images. */
    return 0;
}

int vp_board_capture_poll(vp_capture *capture)
{
    const uint32_t row_size = (uint32_t)capture->width * capture->channels;
    vp_pattern_row(capture->node, capture->request, capture->filled / row_size, capture->width,
                   capture->channels, capture->pixels + capture->filled);
    capture->filled += row_size;
    return 0;
}

void vp_board_capture_cancel(void)
{
}
