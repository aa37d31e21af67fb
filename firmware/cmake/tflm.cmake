# Models on TensorFlow Lite Micro, from the user's own checkout and the library that its own Makefile
# made of it. `vp build --runtime tflm` finds these and what the library was made with.
set(VP_TFLM_PATH "" CACHE PATH "Checkout of TensorFlow Lite Micro")
set(VP_TFLM_LIBRARY "" CACHE FILEPATH "Its libtensorflow-microlite.a for the board's processor")
set(VP_TFLM_INCLUDES "" CACHE STRING "Folders of its headers and of those that they include")
set(VP_TFLM_DEFINITIONS "" CACHE STRING "Macros that its headers must see")

if(NOT EXISTS "${VP_TFLM_PATH}/tensorflow/lite/micro/micro_interpreter.h")
  message(FATAL_ERROR "VP_TFLM_PATH is '${VP_TFLM_PATH}', not a checkout of TensorFlow Lite Micro: "
                      "git clone https://github.com/tensorflow/tflite-micro")
endif()
if(NOT EXISTS "${VP_TFLM_LIBRARY}")
  message(FATAL_ERROR "VP_TFLM_LIBRARY is '${VP_TFLM_LIBRARY}', which does not exist: "
                      "tensorflow/lite/micro/cortex_m_generic/README.md of the checkout says how "
                      "to make it")
endif()

enable_language(CXX ASM)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_FLAGS_RELEASE "-Os")

add_library(vp_tflm OBJECT tflm/model.cc tflm/on_board.c)
target_include_directories(vp_tflm PUBLIC tflm)
target_include_directories(vp_tflm SYSTEM PUBLIC ${VP_TFLM_INCLUDES})
target_compile_definitions(vp_tflm PUBLIC ${VP_TFLM_DEFINITIONS})
target_compile_options(vp_tflm PUBLIC
  $<$<COMPILE_LANGUAGE:CXX>:-fno-rtti -fno-exceptions -fno-threadsafe-statics>)
target_link_libraries(vp_tflm PUBLIC vp_node)

# vp_add_tflm_model(<library> <folder>): the model that `vp build` wrote into a folder, and its runtime.
function(vp_add_tflm_model library folder)
  file(GLOB sources CONFIGURE_DEPENDS "${folder}/*.c" "${folder}/*.cc" "${folder}/*.S")
  add_library(${library} STATIC ${sources} $<TARGET_OBJECTS:vp_tflm>)
  target_include_directories(${library} PRIVATE "${folder}"
    $<TARGET_PROPERTY:vp_tflm,INTERFACE_INCLUDE_DIRECTORIES>)
  target_include_directories(${library} SYSTEM PRIVATE ${VP_TFLM_INCLUDES})
  target_compile_definitions(${library} PRIVATE ${VP_TFLM_DEFINITIONS})
  target_compile_options(${library} PRIVATE
    $<TARGET_PROPERTY:vp_tflm,INTERFACE_COMPILE_OPTIONS>)
  target_link_libraries(${library} PUBLIC "${VP_TFLM_LIBRARY}")
endfunction()
