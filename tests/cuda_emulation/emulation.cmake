# The emulated device, for kernels/cuda.cmake: headers, stand-ins for libcudart, libcublasLt and
# libnccl, and the way to compile a .cu file as C++.

enable_language(CXX)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_EXTENSIONS ON)

# The real headers: of the toolkit where there is one, else as fetch_headers.sh unpacks them.
set(headers_hints /usr/local/cuda/include $ENV{HOME}/.cache/copymill/cuda-headers/include)
find_path(CUDA_HEADERS cuda_runtime_api.h HINTS ${headers_hints} NO_DEFAULT_PATH)
find_path(CUBLAS_HEADERS cublasLt.h HINTS ${headers_hints} NO_DEFAULT_PATH)
find_path(NCCL_HEADERS nccl.h HINTS ${headers_hints} NO_DEFAULT_PATH)
if(NOT CUDA_HEADERS OR NOT CUBLAS_HEADERS OR NOT NCCL_HEADERS)
  message(FATAL_ERROR "No CUDA headers here. Run tests/cuda_emulation/fetch_headers.sh")
endif()

set(emulation_folder ${CMAKE_CURRENT_LIST_DIR})
add_library(copymill_cuda_emulation STATIC
  ${emulation_folder}/block.cpp
  ${emulation_folder}/cublaslt.cpp
  ${emulation_folder}/device_api.cpp
  ${emulation_folder}/fiber.cpp
  ${emulation_folder}/machine.cpp
  ${emulation_folder}/memory.cpp
  ${emulation_folder}/nccl.cpp
  ${emulation_folder}/stream_api.cpp
  ${emulation_folder}/warp.cpp)
target_include_directories(copymill_cuda_emulation SYSTEM PUBLIC
  ${CUDA_HEADERS} ${CUBLAS_HEADERS} ${NCCL_HEADERS})
target_compile_options(copymill_cuda_emulation PRIVATE -O3) # whole models run on it
if(COPYMILL_SANITIZE MATCHES "thread")
  # What the runtime does between two fibers is not a race: it says itself what is in order.
  target_compile_options(copymill_cuda_emulation PRIVATE -fno-sanitize=thread)
  target_compile_definitions(copymill_cuda_emulation PRIVATE EMU_TSAN)
endif()

add_library(copymill_cuda_runtime INTERFACE)
target_compile_definitions(copymill_cuda_runtime INTERFACE COPYMILL_CUDA=1 COPYMILL_CUDA_EMULATED=1)
target_link_libraries(copymill_cuda_runtime INTERFACE copymill_cuda_emulation)

# -fdata-sections gives each shared array a section, by whose name shared.ld finds it.
set(emulated_options -x c++ -I${emulation_folder} -include device/device.h -fdata-sections
    -Wno-unused-function -Wno-unused-parameter -Wno-unknown-pragmas
    -Wno-shadow) # C has functions named like their structs
target_link_options(copymill_cuda_emulation INTERFACE -Wl,-T,${emulation_folder}/shared.ld)

function(copymill_cuda_sources target)
  target_sources(${target} PRIVATE ${ARGN})
  set_source_files_properties(${ARGN} PROPERTIES
    LANGUAGE CXX COMPILE_OPTIONS "${emulated_options}")
endfunction()
