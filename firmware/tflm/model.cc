#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "tensorflow/lite/micro/debug_log.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_profiler_interface.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "vp/model.h"
#include "vp_tflm.h"

namespace {

/* The runtime tells its profiler what it runs: the one place where it can be interrupted. */
class Progress final : public tflite::MicroProfilerInterface {
 public:
    uint32_t BeginEvent(const char *name) override
    {
        vp_tflm_before_operator(name);
        return 0;
    }

    void EndEvent(uint32_t) override
    {
    }
};

/* Constructed where they stand, never destroyed: nothing runs ahead of main or after it. */
alignas(Progress) unsigned char progress_memory[sizeof(Progress)];
alignas(tflite::MicroInterpreter) unsigned char interpreter_memory[sizeof(tflite::MicroInterpreter)];

struct Running {
    tflite::MicroInterpreter *interpreter; /* nullptr until one has started */
    const vp_model *model;
    vp_arena_t *arena;
    size_t arena_size;
    uint32_t rows; /* of the input that were given */
    bool done;
};

Running running;

bool fits(const TfLiteTensor *tensor, const vp_tensor &expected)
{
    return tensor != nullptr && tensor->type == kTfLiteInt8 && tensor->bytes == expected.size;
}

bool start(const vp_model *model, vp_arena_t *arena)
{
    running = {};
    const tflite::Model *file = tflite::GetModel(vp_tflm_file);
    const tflite::MicroOpResolver *operators = vp_tflm_operators();
    if (operators == nullptr || file->version() != TFLITE_SCHEMA_VERSION) {
        return false;
    }
    auto *progress = new (progress_memory) Progress;
    auto *interpreter = new (interpreter_memory)
        tflite::MicroInterpreter(file, *operators, reinterpret_cast<uint8_t *>(arena),
                                 model->arena_size, nullptr, progress);
    if (interpreter->AllocateTensors() != kTfLiteOk || !fits(interpreter->input(0), model->input) ||
        !fits(interpreter->output(0), model->output)) {
        return false;
    }
    running = {interpreter, model, arena, model->arena_size, 0, false};
    return true;
}

uint32_t row_count(const vp_model *model)
{
    return model->input.size / model->input_row_size;
}

}  // namespace

/* Nothing is ever created with new; only virtual destructors mention these. */
void operator delete(void *) noexcept
{
}

void operator delete(void *, std::size_t) noexcept
{
}

extern "C" {

/* In place of the libraries' own, which bring a heap and what it takes to print. */
void __cxa_pure_virtual()
{
    std::abort();
}

void __assert_func(const char *, int, const char *, const char *)
{
    std::abort();
}

void DebugLog(const char *format, va_list arguments)
{
    vp_tflm_log(format, arguments);
}

/* Only profilers and tests of the runtime print into buffers. */
int DebugVsnprintf(char *buffer, size_t size, const char *, va_list)
{
    if (size > 0) {
        buffer[0] = '\0';
    }
    return 0;
}

size_t vp_tflm_arena_used(void)
{
    return running.interpreter == nullptr ? 0 : running.interpreter->arena_used_bytes();
}

int vp_model_begin(const vp_model *model, vp_arena_t *arena)
{
    const bool started = running.interpreter != nullptr && running.model == model &&
                         running.arena == arena && running.arena_size == model->arena_size;
    if (!started && !start(model, arena)) {
        return -1;
    }
    running.rows = 0;
    running.done = false;
    return 0;
}

int8_t *vp_model_row_wanted(const vp_model *model, vp_arena_t *)
{
    if (running.interpreter == nullptr || running.rows == row_count(model)) {
        return nullptr;
    }
    return running.interpreter->input(0)->data.int8 +
           static_cast<size_t>(running.rows) * model->input_row_size;
}

void vp_model_row_given(const vp_model *model, vp_arena_t *)
{
    if (running.rows < row_count(model)) {
        running.rows++;
    }
}

uint32_t vp_model_row_number(const vp_model *, const vp_arena_t *)
{
    return running.rows;
}

int vp_model_step(const vp_model *model, vp_arena_t *)
{
    if (running.interpreter == nullptr) {
        return -1;
    }
    if (running.done || running.rows < row_count(model)) {
        return 0;
    }
    if (running.interpreter->Invoke() != kTfLiteOk) {
        return -1;
    }
    running.done = true;
    return 1;
}

int vp_model_done(const vp_model *, const vp_arena_t *)
{
    return running.done;
}

void vp_model_invoke(const vp_model *model, vp_arena_t *arena, const int8_t *input)
{
    if (vp_model_begin(model, arena) == 0) {
        std::memcpy(running.interpreter->input(0)->data.int8, input, model->input.size);
        running.rows = row_count(model);
        (void)vp_model_step(model, arena);
    }
}

const int8_t *vp_model_output(const vp_model *, const vp_arena_t *)
{
    return running.interpreter == nullptr ? nullptr : running.interpreter->output(0)->data.int8;
}

}  // extern "C"
