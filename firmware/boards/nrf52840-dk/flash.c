/* Pages of the boot journal in the chip's own flash (nRF52840 PS, chapter NVMC). The core stands
 * still while it is written or erased: 41 us a word, 85 ms a page. */
#include <string.h>

#include "flash.h"
#include "nrf52840.h"

#define NVMC_READY VP_REGISTER(0x4001E400u)
#define NVMC_CONFIG VP_REGISTER(0x4001E504u)
#define NVMC_ERASEPAGE VP_REGISTER(0x4001E508u)
#define CONFIG_READ 0u
#define CONFIG_WRITE 1u
#define CONFIG_ERASE 2u

static void wait(void)
{
    while (NVMC_READY == 0u) {
    }
}

/* The barriers keep what is written to the flash within what is said to its controller. */
static void set_mode(uint32_t mode)
{
    __asm volatile("dsb" ::: "memory");
    NVMC_CONFIG = mode;
    wait();
    __asm volatile("dsb" ::: "memory");
}

int vp_flash_erase(uint32_t address)
{
    set_mode(CONFIG_ERASE);
    NVMC_ERASEPAGE = address;
    wait();
    set_mode(CONFIG_READ);
    for (uint32_t at = 0; at < VP_BOARD_JOURNAL_PAGE_SIZE; at += 4u) {
        if (VP_REGISTER(address + at) != 0xFFFFFFFFu) {
            return -1;
        }
    }
    return 0;
}

int vp_flash_program(uint32_t address, const void *data, size_t size)
{
    const uint8_t *const bytes = data;
    set_mode(CONFIG_WRITE);
    for (size_t done = 0; done < size; done += 4u) {
        uint32_t word;
        memcpy(&word, bytes + done, sizeof(word));
        VP_REGISTER(address + (uint32_t)done) = word;
        wait();
    }
    set_mode(CONFIG_READ);
    return memcmp((const void *)address, data, size) == 0 ? 0 : -1;
}
