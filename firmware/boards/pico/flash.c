/* Pages of the boot journal, through the boot ROM's functions (RP2040 datasheet section 2.8.3.1.3).
 * While they work the flash can be neither read nor run from: they are called from RAM, with
 * interrupts off. An erasure takes 45 ms as a rule and 400 ms at most (W25Q16JV), so what comes in on
 * the serial line meanwhile is lost but for the UART's 32 bytes, and is asked for again. */
#include <string.h>

#include "flash.h"
#include "rp2040.h"

#define FLASH 0x10000000u
#define PAGE_SIZE 256u
#define SECTOR_SIZE 4096u
#define LARGE_BLOCK_SIZE 65536u /* With its command; a sector is smaller, so never used. */
#define LARGE_BLOCK_ERASE 0xD8u
#define BOOT2_WORDS 64u
#define WRITE_WORDS 16u

/* Section 2.8.3: 16-bit pointers to the table of functions and to the function that searches it. */
#define ROM_FUNCTION_TABLE 0x14u
#define ROM_LOOKUP 0x18u
#define ROM_CODE(a, b) ((uint32_t)(a) | (uint32_t)(b) << 8)

/* flash_ram.S knows the layout. */
typedef struct flash_job {
    uint32_t connect;
    uint32_t leave_read_mode;
    uint32_t act;
    uint32_t arguments[4];
    uint32_t flush_cache;
    uint32_t enter_read_mode;
} flash_job;

extern const uint8_t vp_rp2040_boot2[];
extern const uint8_t vp_rp2040_flash_write[];
extern const uint8_t vp_rp2040_flash_write_end[];

/* Read from the ROM at an address that the compiler does not see: it takes those near zero for
 * mistakes. */
static uint32_t rom_pointer(uint32_t address)
{
    __asm("" : "+r"(address));
    return *(const volatile uint16_t *)address;
}

static uint32_t rom_function(uint32_t code)
{
    uint32_t (*const lookup)(uint32_t table, uint32_t code) =
        (uint32_t (*)(uint32_t, uint32_t))rom_pointer(ROM_LOOKUP);
    return lookup(rom_pointer(ROM_FUNCTION_TABLE), code);
}

static uint32_t thumb(const void *code)
{
    return (uint32_t)code | 1u;
}

/* Calls one of the ROM's functions on the flash, its read mode left before and set up again after. */
static void call(uint32_t act, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    uint32_t boot2[BOOT2_WORDS];
    uint32_t write[WRITE_WORDS];
    const flash_job job = {
        .connect = rom_function(ROM_CODE('I', 'F')),
        .leave_read_mode = rom_function(ROM_CODE('E', 'X')),
        .act = act,
        .arguments = {a, b, c, d},
        .flush_cache = rom_function(ROM_CODE('F', 'C')),
        .enter_read_mode = thumb(boot2),
    };
    memcpy(boot2, vp_rp2040_boot2, sizeof(boot2));
    memcpy(write, vp_rp2040_flash_write,
           (size_t)(vp_rp2040_flash_write_end - vp_rp2040_flash_write));
    __asm volatile("cpsid i\n dsb\n isb" ::: "memory");
    ((void (*)(const flash_job *))thumb(write))(&job);
    __asm volatile("cpsie i\n isb" ::: "memory");
}

static int is_blank(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0xFFu) {
            return 0;
        }
    }
    return 1;
}

int vp_flash_erase(uint32_t address)
{
    call(rom_function(ROM_CODE('R', 'E')), address - FLASH, SECTOR_SIZE, LARGE_BLOCK_SIZE,
         LARGE_BLOCK_ERASE);
    return is_blank((const uint8_t *)address, SECTOR_SIZE) ? 0 : -1;
}

/* The ROM programs whole pages: ones leave what stands there as it is. */
static void program_page(uint32_t address, const uint8_t *data, size_t size)
{
    uint8_t page[PAGE_SIZE];
    memset(page, 0xFF, sizeof(page));
    memcpy(page + address % PAGE_SIZE, data, size);
    call(rom_function(ROM_CODE('R', 'P')), address - address % PAGE_SIZE - FLASH,
         (uint32_t)page, PAGE_SIZE, 0);
}

int vp_flash_program(uint32_t address, const void *data, size_t size)
{
    const uint8_t *const bytes = data;
    size_t done = 0;
    while (done < size) {
        const uint32_t at = address + (uint32_t)done;
        const size_t room = PAGE_SIZE - at % PAGE_SIZE;
        const size_t part = size - done < room ? size - done : room;
        program_page(at, bytes + done, part);
        done += part;
    }
    return memcmp((const void *)address, data, size) == 0 ? 0 : -1;
}
