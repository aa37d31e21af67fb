/**
 * @file flash.h
 * What a board gives the boot journal: its two pages at board.toml's journal_address.
 */
#ifndef VP_FLASH_H
#define VP_FLASH_H

#include <stddef.h>
#include <stdint.h>

/** Erases the journal page (journal_page_size bytes) at `address`. Feeds nothing and may take as long
 *  as the chip does, under the watchdog's period. Afterwards memory reads see it: a cache that held
 *  the page is invalidated. @return 0, or -1 if the chip reports an error. */
int vp_flash_erase(uint32_t address);

/** Programs blank (all ones) bytes; `address` and `size` are multiples of 8. Memory reads see it as
 *  after vp_flash_erase. @return 0, or -1 if the chip reports an error. */
int vp_flash_program(uint32_t address, const void *data, size_t size);

#endif
